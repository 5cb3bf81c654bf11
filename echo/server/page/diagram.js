/** The diagram: one listening socket; from it hang the clients, from each client its sockets. */

import { byId, keyed, make, write } from "./dom.js";
import { address, bytes, count, duration, plural, rate } from "./format.js";
import { STATES, statesOf } from "./model.js";

// This many sockets have a card each; more are squares.
const MOST_CARDS = 60;
// This many clients have squares of their own, those with the most sockets; the others share.
const MOST_CLIENTS = 24;
const OTHERS = "others";
// Milliseconds for which a socket that has closed still shows its reason.
const FAREWELL = 1500;
const GAP = 2;
const SIDES = [
  [400, 16],
  [2000, 11],
  [Infinity, 8],
]; // up to this many sockets in all, pixels of a square with its gap

export class Diagram {
  /** @type {Map<string, {row: object, reason: string, until: number}>} */
  #closed = new Map();
  #rows = new Map();
  #sides = new Map(); // of a canvas: its rows, and how they are laid out

  /** @param {(peer: string) => void} onPick called with the peer of a square that was clicked */
  constructor(onPick) {
    this.onPick = onPick;
    const legend = STATES.map((state) => {
      const key = make("span", "key", state);
      key.dataset.state = state;
      return key;
    });
    byId("legend").append("A square for each socket. ", ...legend);
    new ResizeObserver(() => this.redraw()).observe(byId("clients").parentElement);
    for (const query of ["(prefers-color-scheme: dark)", "(forced-colors: active)"]) {
      matchMedia(query).addEventListener("change", () => this.redraw());
    }
  }

  /**
   * @param {object} snapshot
   * @param {import("./model.js").Model} model
   * @param {?Set<object>} marked the rows that were looked for, null where none were
   */
  show(snapshot, model, marked) {
    this.shown = [snapshot, model, marked];
    showListening(snapshot.listening);
    const before = this.#rows;
    this.#rows = model.rows;
    const clients = [...model.clients.values()].filter((client) => client.sessions);
    const few = model.rows.size <= MOST_CARDS;
    byId("legend").hidden = few;
    byId("tip").hidden ||= few;
    this.#noteClosed(before, snapshot.ended, few);
    const groups = few ? withClosed(clients, this.#closed) : largest(clients);
    // Read once, before anything is written: each reading after that would lay the page out again.
    const paint = few ? null : paintFor(model.rows.size);
    const busiest = Math.max(0, ...groups.map(({ ip, rate: speed }) => (ip === OTHERS ? 0 : speed)));
    keyed(byId("clients"), groups.map(({ ip }) => ip), newClient).forEach((element, index) => {
      const group = groups[index];
      const isBusiest = clients.length > 1 && busiest > 0 && group.rate === busiest;
      element.classList.toggle("busiest", isBusiest);
      this.#fillTitle(element.firstChild, group);
      if (few) fillCards(element, group, snapshot.listening.port, marked);
      else this.#fillSquares(element, group, marked, paint);
    });
    byId("empty").hidden = groups.length > 0;
  }

  redraw() {
    if (this.shown) this.show(...this.shown);
  }

  #noteClosed(before, ended, few) {
    const now = Date.now();
    const reasons = new Map(ended.map((end) => [end.session_id, end.reason]));
    for (const [id, row] of before) {
      if (this.#rows.has(id) || !few) continue;
      this.#closed.set(id, { row, reason: reasons.get(id) ?? "closed", until: now + FAREWELL });
      setTimeout(() => this.redraw(), FAREWELL + 50);
    }
    for (const [id, { until }] of this.#closed) if (until <= now || !few) this.#closed.delete(id);
  }

  #fillTitle(title, { ip, clients, sessions, rate: speed }) {
    write(title.children[0], ip === OTHERS ? plural(clients, "other client") : "client");
    write(title.children[1], ip === OTHERS ? "" : ip);
    write(title.children[2], `${plural(sessions, "socket")}${speed ? `, ${rate(speed)}` : ""}`);
  }

  #fillSquares(element, { ip, rows }, marked, { side, room, colours }) {
    if (element.lastChild.localName !== "canvas") {
      element.lastChild.replaceWith(this.#newCanvas());
    }
    const canvas = element.lastChild;
    const states = Object.entries(statesOf(rows)).map(([state, n]) => `${count(n)} ${state}`);
    canvas.ariaLabel = `Sockets of ${ip}: ${states.join(", ")}.`;
    const most = Math.min(room, Math.max(12, Math.ceil(Math.sqrt(rows.length * 4))));
    const across = Math.ceil(rows.length / Math.ceil(rows.length / most)); // lines of the same length
    this.#sides.set(canvas, { rows, side, across });
    const context = resized(canvas, across * side, Math.ceil(rows.length / across) * side);
    rows.forEach((row, index) => {
      context.fillStyle = colours[row.state];
      context.globalAlpha = marked && !marked.has(row) ? 0.25 : 1;
      const [x, y] = [(index % across) * side, Math.floor(index / across) * side];
      context.fillRect(x, y, side - GAP, side - GAP);
    });
  }

  #newCanvas() {
    const canvas = make("canvas", "squares");
    canvas.role = "img";
    const at = ({ offsetX, offsetY }) => {
      const { rows, side, across } = this.#sides.get(canvas);
      const x = Math.floor(offsetX / side);
      return x < across ? rows[Math.floor(offsetY / side) * across + x] : undefined;
    };
    canvas.addEventListener("pointermove", (event) => showTip(at(event), event));
    canvas.addEventListener("pointerleave", () => showTip());
    canvas.addEventListener("click", (event) => at(event) && this.onPick(at(event).peer));
    return canvas;
  }
}

/** Return the side of a square where there are so many, how many have room, and their colours. */
function paintFor(sockets) {
  const place = byId("clients").parentElement;
  const style = getComputedStyle(place);
  const side = SIDES.find(([most]) => sockets <= most)[1];
  const room = Math.max(1, Math.floor((place.clientWidth * 0.9) / side));
  const colour = (state) => [state, style.getPropertyValue(`--${state.split(" ")[0]}`)];
  return { side, room, colours: Object.fromEntries(STATES.map(colour)) };
}

function showListening(listening) {
  const fill = (name, text) => write(byId("listening").querySelector(`[data-is=${name}]`), text);
  fill("fd", listening.fd < 0 ? "closed" : `fd ${listening.fd}`);
  fill("address", address(listening.host, listening.port));
  const used = listening.backlog_used;
  fill("backlog", used === null ? "–" : `${count(used)} of ${count(listening.backlog)}`);
  byId("backlog").max = listening.backlog;
  byId("backlog").value = used ?? 0;
  const host = ["0.0.0.0", "::"].includes(listening.host) ? "127.0.0.1" : listening.host;
  write(byId("try"), `echod connect ${host} ${listening.port}`);
}

/** Return the clients with those of their sockets that have just closed. */
function withClosed(clients, closed) {
  const groups = new Map(clients.map((client) => [client.ip, { ...client, gone: [] }]));
  for (const { row, reason } of closed.values()) {
    const ip = row.peer_ip;
    if (!groups.has(ip)) groups.set(ip, { ip, rows: [], gone: [], sessions: 0, rate: null });
    groups.get(ip).gone.push({ ...row, state: reason, rate: null });
  }
  return [...groups.values()];
}

/** Return the clients with the most sockets, and all others as one. */
function largest(clients) {
  const bySize = [...clients].sort((a, b) => b.sessions - a.sessions);
  if (bySize.length <= MOST_CLIENTS) return bySize;
  const others = bySize.splice(MOST_CLIENTS);
  const rows = others.flatMap((client) => client.rows);
  const speed = others.reduce((all, client) => all + (client.rate ?? 0), 0);
  return [...bySize, { ip: OTHERS, clients: others.length, rows, sessions: rows.length, rate: speed }];
}

function newClient() {
  const title = make("h3", "chip", make("span"), " ", make("b"), " ", make("span", "small"));
  return make("li", "client", title, make("ul", "branches"));
}

function fillCards(element, { rows, gone }, port, marked) {
  if (element.lastChild.localName !== "ul") element.lastChild.replaceWith(make("ul", "branches"));
  const all = [...rows, ...gone];
  keyed(element.lastChild, all.map((row) => row.session_id), newCard).forEach((card, index) => {
    fillCard(card, all[index], port);
    card.classList.toggle("closed", index >= rows.length);
    card.classList.toggle("faded", Boolean(marked && !marked.has(all[index])));
  });
}

function newCard() {
  const fact = (name) => {
    const value = make("span");
    value.dataset.is = name;
    return value;
  };
  const card = make("div", "card",
    make("p", "", make("b", "fd", "fd ", fact("fd")), fact("state")),
    make("p", "address", fact("ends")),
    make("p", "flow", make("span", "", "in ", fact("in")), make("span", "", "out ", fact("out")), fact("rate")),
    make("p", "small", make("span", "", "thread ", fact("thread")), fact("age")),
    make("p", "small", fact("more")),
  );
  return make("li", "socket", make("i", "byte"), card);
}

function fillCard(card, row, port) {
  const { proxy_ip, proxy_port, tls } = row;
  const texts = {
    fd: row.fd,
    state: row.state,
    ends: `:${port} ⇄ ${row.peer}`,
    in: bytes(row.received_bytes),
    out: bytes(row.sent_bytes),
    rate: rate(row.rate),
    thread: row.thread || "–",
    age: duration(row.duration_s),
    more: [proxy_ip && `via ${address(proxy_ip, proxy_port)}`, tls?.tls_protocol].filter(Boolean).join(", "),
  };
  for (const value of card.querySelectorAll("[data-is]")) write(value, texts[value.dataset.is]);
  card.dataset.state = row.state;
  card.classList.toggle("moving", row.rate > 0);
}

function resized(canvas, width, height) {
  const scale = devicePixelRatio;
  const size = { width: Math.round(width * scale), height: Math.round(height * scale) };
  for (const name of ["width", "height"]) if (canvas[name] !== size[name]) canvas[name] = size[name];
  canvas.style.width = `${width}px`;
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

/** Show what a square stands for, beside the pointer. */
function showTip(row, event) {
  const tip = byId("tip");
  tip.hidden = !row;
  if (!row) return;
  write(tip, `fd ${row.fd} · ${row.peer} · ${row.state} · ${rate(row.rate)}`);
  const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
  Object.assign(tip.style, { left: `${Math.max(8, left)}px`, top: `${event.clientY + 16}px` });
}

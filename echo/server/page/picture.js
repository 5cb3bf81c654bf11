/** The picture: one listening socket, and each session's socket hanging from it, by client. */

import { byId, make, still, write } from "./dom.js";
import { address, bytes, count, duration, plural, rate } from "./format.js";

/** So many sockets can be looked at one by one; more are drawn as a field. */
export const SOME_DOZENS = 60;
const COLOURS = 8;
// Milliseconds for which a socket that has closed still says why, and for which others move up.
const FAREWELL = 1500;
const MOVE = 300;

export class Picture {
  /** @type {Map<string, HTMLElement>} */
  #peers = new Map();
  /** @type {Map<string, HTMLElement>} */
  #tiles = new Map();
  #colour = 0; // clients get the colours in turn

  constructor() {
    new ResizeObserver(() => this.#lead()).observe(byId("peers"));
  }

  /**
   * @param {object} picture what `/sessions` answered
   * @param {Map<string, object>} rows
   */
  show(picture, rows) {
    this.#showListening(picture.listening);
    const few = rows.size <= SOME_DOZENS;
    byId("peers").hidden = !few;
    byId("field").hidden = few;
    if (!few) return this.#forget();
    const before = places(this.#tiles);
    const reasons = new Map(picture.ended.map((end) => [end.session_id, end.reason]));
    this.#endMissing(rows, reasons);
    for (const row of rows.values()) this.#showTile(row, picture.listening.port);
    this.#arranged(before);
  }

  /** See to what follows from where the sockets are now. */
  #arranged(before) {
    this.#countPeers();
    byId("empty").hidden = this.#tiles.size > 0 || !byId("field").hidden;
    this.#lead();
    if (!still()) glide(before, this.#tiles);
  }

  #lead() {
    for (const peer of this.#peers.values()) lead(peer, peer.querySelector("ul").lastChild);
    lead(byId("hanging"), byId("peers").lastElementChild);
  }

  #showListening(listening) {
    const write_ = (name, text) => write(byId("listening").querySelector(`[data-is=${name}]`), text);
    write_("fd", listening.fd < 0 ? "closed" : listening.fd);
    write_("address", address(listening.host, listening.port));
    const used = listening.backlog_used;
    write_("backlog", `${used === null ? "?" : count(used)} of ${count(listening.backlog)}`);
    byId("backlog").max = listening.backlog;
    byId("backlog").value = used ?? 0;
    const host = ["0.0.0.0", "::"].includes(listening.host) ? "127.0.0.1" : listening.host;
    write(byId("try"), `echod connect ${host} ${listening.port}`);
  }

  #forget() {
    this.#tiles.clear();
    this.#peers.clear();
    byId("peers").replaceChildren();
    byId("empty").hidden = true;
    lead(byId("hanging"), null);
  }

  #showTile(row, port) {
    let tile = this.#tiles.get(row.session_id);
    const peer = this.#peer(row.peer_ip);
    if (!tile) {
      tile = newTile();
      this.#tiles.set(row.session_id, tile);
    }
    const sockets = peer.querySelector("ul");
    if (tile.parentElement !== sockets) sockets.append(tile);
    fillTile(tile, row, port);
  }

  /** Give the place of a client's sockets. */
  #peer(ip) {
    let peer = this.#peers.get(ip);
    if (!peer) {
      peer = make("li", `client colour-${this.#colour++ % COLOURS}`);
      const title = make("h3", "", "client ", make("b", "", ip), " ", make("span", "count"));
      peer.append(title, make("ul", "sockets"));
      this.#peers.set(ip, peer);
      byId("peers").append(peer);
    }
    return peer;
  }

  #endMissing(rows, reasons) {
    for (const [id, tile] of this.#tiles) {
      if (rows.has(id) || tile.dataset.state === "ended") continue;
      tile.dataset.state = "ended";
      tile.classList.remove("moving");
      write(part(tile, "state"), reasons.get(id) ?? "ended");
      write(part(tile, "rate"), "closed");
      setTimeout(() => this.#remove(id, tile), FAREWELL);
    }
  }

  #remove(id, tile) {
    const before = places(this.#tiles);
    tile.remove();
    if (this.#tiles.get(id) === tile) this.#tiles.delete(id);
    this.#arranged(before);
  }

  #countPeers() {
    for (const [ip, peer] of this.#peers) {
      const sockets = peer.querySelectorAll("li:not([data-state=ended])").length;
      write(peer.querySelector(".count"), plural(sockets, "socket"));
      if (peer.querySelector("li")) continue;
      peer.remove();
      this.#peers.delete(ip);
    }
  }
}

/** Let the rail at the left lead down to where the last one hangs, no further. */
function lead(rail, last) {
  const down = last ? last.getBoundingClientRect().top - rail.getBoundingClientRect().top : 0;
  rail.style.setProperty("--down", `${Math.round(down)}px`);
}

function newTile() {
  const fact = (name) => {
    const value = make("span");
    value.dataset.is = name;
    return value;
  };
  const tile = make("li", "socket");
  tile.append(
    make("p", "head", make("span", "fd", "fd ", fact("fd")), fact("state")),
    make("p", "ends-of-it", fact("ends")),
    make("p", "flow", make("span", "", "in ", fact("in")), make("span", "", "out ", fact("out")), fact("rate")),
    make("p", "small", make("span", "", "thread ", fact("thread")), fact("age")),
    make("p", "small more", fact("more")),
  );
  return tile;
}

function fillTile(tile, row, port) {
  const texts = {
    fd: row.fd,
    state: row.state,
    ends: `:${port} ⇄ ${row.peer}`,
    in: bytes(row.received_bytes),
    out: bytes(row.sent_bytes),
    rate: rate(row.rate),
    thread: row.thread || "…",
    age: duration(row.duration_s),
    more: extras(row),
  };
  for (const [name, text] of Object.entries(texts)) write(part(tile, name), text);
  tile.dataset.state = row.state;
  tile.classList.toggle("moving", row.rate > 0);
}

const part = (tile, name) => tile.querySelector(`[data-is=${name}]`);

function extras({ proxy_ip, proxy_port, tls }) {
  const via = proxy_ip ? [`via ${address(proxy_ip, proxy_port)}`] : [];
  return [...via, ...(tls?.tls_protocol ? [tls.tls_protocol] : [])].join(", ");
}

function places(tiles) {
  return new Map([...tiles].map(([id, tile]) => [id, tile.getBoundingClientRect()]));
}

/** Let each tile glide from where it was to where it is. */
function glide(before, tiles) {
  for (const [id, tile] of tiles) {
    const from = before.get(id);
    if (!from) continue;
    const to = tile.getBoundingClientRect();
    const [x, y] = [from.left - to.left, from.top - to.top];
    if (x || y) {
      const way = [{ transform: `translate(${x}px, ${y}px)` }, { transform: "none" }];
      tile.animate(way, { duration: MOVE, easing: "ease-out" });
    }
  }
}

/** The field: thousands of sockets, a square each, drawn on one canvas. */

import { byId, write } from "./dom.js";
import { count, plural, rate } from "./format.js";

const GAP = 2;
const SIDES = [
  [400, 16],
  [2000, 11],
  [Infinity, 8],
]; // up to so many sockets, pixels a square with its gap
const HINT = "A square for each socket, the oldest first.";

export class Field {
  constructor() {
    this.canvas = byId("dots");
    this.rows = [];
    this.canvas.addEventListener("pointermove", (event) => this.#point(event));
    this.canvas.addEventListener("pointerleave", () => write(byId("under"), HINT));
    new ResizeObserver(() => this.draw()).observe(byId("field"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** @param {Map<string, object>} rows @param {Record<string, number>} states */
  show(rows, states) {
    this.rows = [...rows.values()];
    const peers = new Set(this.rows.map((row) => row.peer_ip)).size;
    const parts = Object.entries(states).map(([state, number]) => `${count(number)} ${state}`);
    const text = `${plural(this.rows.length, "socket")} of ${plural(peers, "client")}`;
    this.canvas.setAttribute("aria-label", `${text}: ${parts.join(", ")}.`);
    this.draw();
  }

  /** Draw the squares, all of one colour in one go. */
  draw() {
    const width = byId("field").clientWidth;
    if (!width) return;
    this.side = SIDES.find(([most]) => this.rows.length <= most)[1];
    this.across = Math.max(1, Math.floor(width / this.side));
    const height = Math.ceil(this.rows.length / this.across) * this.side;
    const context = this.#resized(width, height);
    const style = getComputedStyle(this.canvas);
    for (const [kind, places] of this.#byKind()) {
      context.fillStyle = style.getPropertyValue(`--${kind}`);
      for (const index of places) {
        const [x, y] = [index % this.across, Math.floor(index / this.across)];
        context.fillRect(x * this.side, y * this.side, this.side - GAP, this.side - GAP);
      }
    }
  }

  #resized(width, height) {
    const scale = devicePixelRatio;
    const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
    if (this.canvas.width !== w) this.canvas.width = w;
    if (this.canvas.height !== h) this.canvas.height = h;
    this.canvas.style.height = `${height}px`;
    const context = this.canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    return context;
  }

  #byKind() {
    const kinds = new Map();
    this.rows.forEach((row, index) => {
      const kind = kindOf(row);
      if (!kinds.has(kind)) kinds.set(kind, []);
      kinds.get(kind).push(index);
    });
    return kinds;
  }

  #point(event) {
    const [x, y] = [event.offsetX, event.offsetY].map((at) => Math.floor(at / this.side));
    const row = x < this.across ? this.rows[y * this.across + x] : undefined;
    write(byId("under"), row ? `fd ${row.fd}, ${row.peer}, ${row.state}, ${rate(row.rate)}` : HINT);
  }
}

function kindOf(row) {
  if (row.state !== "reading") return row.state;
  return row.rate > 0 ? "moving" : "idle";
}

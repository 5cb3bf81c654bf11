/** The table of sessions. Only the rows that can be seen are in the document. */

import { byId, make, write } from "./dom.js";
import { bytes, count, duration, rate } from "./format.js";

/**
 * @typedef {object} Column
 * @property {string} key of a row's field, by which the column sorts
 * @property {string} name
 * @property {(row: object) => string|number} text
 * @property {string} [className]
 * @property {boolean} [down] whether the first click sorts the largest first
 */

/** @type {Column[]} */
const COLUMNS = [
  { key: "fd", name: "fd", text: (row) => row.fd, className: "number" },
  { key: "peerKey", name: "peer", text: (row) => row.peer, className: "peer" },
  { key: "state", name: "state", text: (row) => row.state, className: "state" },
  { key: "rate", name: "rate", text: (row) => rate(row.rate), className: "number", down: true },
  { key: "received_bytes", name: "in", text: (row) => bytes(row.received_bytes), className: "number", down: true },
  { key: "sent_bytes", name: "out", text: (row) => bytes(row.sent_bytes), className: "number", down: true },
  { key: "age", name: "age", text: (row) => duration(row.duration_s), className: "number", down: true },
  { key: "thread", name: "thread", text: (row) => row.thread, className: "number wide" },
  { key: "session_id", name: "session", text: (row) => row.session_id, className: "wide" },
];
// Rows beyond the edges, so that a quick scroll finds them there.
const OVERSCAN = 8;
const ROW_HEIGHT = 30; // until one is there to be measured

export class Table {
  /** @param {() => void} onOrder called when the reader sorts anew */
  constructor(onOrder) {
    this.order = { key: "age", down: true };
    this.rows = [];
    this.rowHeight = ROW_HEIGHT;
    this.onOrder = onOrder;
    this.scroll = byId("scroll");
    this.above = make("td");
    this.below = make("td");
    this.body = make("tbody");
    this.heads = COLUMNS.map((column) => this.#head(column));
    this.#build();
    this.scroll.addEventListener("scroll", () => this.#soon(), { passive: true });
    new ResizeObserver(() => this.#soon()).observe(this.scroll);
  }

  /** Show these rows, in this order. @param {object[]} rows */
  show(rows) {
    this.rows = rows;
    this.draw();
  }

  /** Bring the document in line with the rows and with where the reader has scrolled to. */
  draw() {
    const height = this.scroll.clientHeight || 600;
    const top = Math.max(0, this.scroll.scrollTop - this.heads[0].offsetHeight);
    const first = Math.max(0, Math.floor(top / this.rowHeight) - OVERSCAN);
    const size = Math.ceil(height / this.rowHeight) + 2 * OVERSCAN;
    const from = Math.max(0, Math.min(first, this.rows.length - size));
    const shown = this.rows.slice(from, from + size);
    this.#fit(shown.length);
    shown.forEach((row, index) => this.#fill(this.body.rows[index], row, from + index));
    this.rowHeight = this.body.rows[0]?.offsetHeight || this.rowHeight;
    this.above.style.height = `${from * this.rowHeight}px`;
    this.below.style.height = `${(this.rows.length - from - shown.length) * this.rowHeight}px`;
    byId("table").setAttribute("aria-rowcount", String(this.rows.length + 1));
  }

  #soon() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = undefined;
      this.draw();
    });
  }

  #build() {
    const head = make("tr", "", ...this.heads);
    head.setAttribute("aria-rowindex", "1");
    const [above, below] = [this.above, this.below].map((cell) => {
      cell.colSpan = COLUMNS.length;
      const space = make("tbody", "space", make("tr", "", cell));
      space.setAttribute("aria-hidden", "true");
      return space;
    });
    const caption = make("caption", "unseen", "Sessions, sortable by each column");
    byId("table").append(caption, make("thead", "", head), above, this.body, below);
    this.#sayOrder();
  }

  #head(column) {
    const button = make("button", "", column.name);
    button.type = "button";
    button.addEventListener("click", () => this.#sortBy(column));
    const head = make("th", column.className ?? "", button);
    head.scope = "col";
    return head;
  }

  #sortBy({ key, down = false }) {
    const again = this.order.key === key;
    this.order = { key, down: again ? !this.order.down : down };
    this.#sayOrder();
    this.onOrder();
  }

  #sayOrder() {
    this.heads.forEach((head, index) => {
      if (COLUMNS[index].key !== this.order.key) head.removeAttribute("aria-sort");
      else head.setAttribute("aria-sort", this.order.down ? "descending" : "ascending");
    });
  }

  /** Have so many rows in the document. */
  #fit(wanted) {
    while (this.body.rows.length > wanted) this.body.lastChild.remove();
    while (this.body.rows.length < wanted) {
      const cells = COLUMNS.map((column) => make("td", column.className ?? ""));
      this.body.append(make("tr", "", ...cells));
    }
  }

  #fill(element, row, index) {
    COLUMNS.forEach((column, place) => write(element.cells[place], column.text(row)));
    element.dataset.state = row.state;
    element.setAttribute("aria-rowindex", String(index + 2));
  }
}

/** Say how many were found. @param {number} found @param {number} all @returns {string} */
export const foundText = (found, all) =>
  found === all ? `${count(all)} shown` : `${count(found)} of ${count(all)} match`;

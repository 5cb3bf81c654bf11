/** A table that sorts. Only the rows that can be seen are in the document. */

import { make, write } from "./dom.js";
import { count } from "./format.js";
import { sorted } from "./model.js";

/**
 * @typedef {object} Column
 * @property {string} key of a row's field, by which the column sorts
 * @property {string} name
 * @property {(row: object) => string|number} [text] the field itself where it is left out
 * @property {string} [className]
 * @property {boolean} [down] whether the first click sorts the largest first
 */

// Rows outside the visible part, so that a quick scroll finds them there.
const OVERSCAN = 8;
const ROW_HEIGHT = 30; // until one is there to be measured

export class Table {
  /**
   * @param {HTMLElement} place
   * @param {string} caption
   * @param {Column[]} columns
   * @param {string} nothing the text of an empty table
   * @param {() => void} [onOrder] called when the user sorts; without it the table doesn't sort
   */
  constructor(place, caption, columns, nothing, onOrder) {
    this.columns = columns;
    this.nothing = nothing;
    this.order = undefined;
    this.rows = [];
    this.rowHeight = ROW_HEIGHT;
    this.onOrder = onOrder;
    this.place = place;
    this.above = make("td");
    this.below = make("td");
    this.body = make("tbody");
    this.heads = columns.map((column) => this.#head(column));
    this.table = make("table", "", make("caption", "unseen", caption), ...this.#parts());
    this.scroll = make("div", "card scroll", this.table);
    Object.assign(this.scroll, { role: "region", ariaLabel: `Table: ${caption}`, tabIndex: 0 });
    place.classList.add("frame");
    place.append(this.scroll);
    this.scroll.addEventListener("scroll", () => this.#soon(), { passive: true });
    new ResizeObserver(() => this.#soon()).observe(this.scroll);
  }

  /** Sort by this. @param {{key: string, down: boolean}} order */
  sortBy(order) {
    this.order = order;
    this.heads.forEach((head, index) => {
      if (this.columns[index].key !== order.key) head.removeAttribute("aria-sort");
      else head.setAttribute("aria-sort", order.down ? "descending" : "ascending");
    });
  }

  /** Show these rows. @param {object[]} rows */
  show(rows) {
    this.rows = this.order ? sorted(rows, this.order) : rows;
    this.draw();
  }

  /** Bring the document in line with the rows and the place that the user has scrolled to. */
  draw() {
    // Read first, then write: each reading after that would lay the page out again.
    const { clientHeight, clientWidth, scrollLeft, scrollTop, scrollWidth } = this.scroll;
    this.rowHeight = this.body.rows[0]?.offsetHeight || this.rowHeight;
    const top = Math.max(0, scrollTop - this.heads[0].offsetHeight);
    const height = Math.min(clientHeight || 600, innerHeight); // it grows in print
    const first = Math.max(0, Math.floor(top / this.rowHeight) - OVERSCAN);
    const size = Math.ceil(height / this.rowHeight) + 2 * OVERSCAN;
    const from = Math.max(0, Math.min(first, this.rows.length - size));
    const shown = this.rows.slice(from, from + size);
    this.#fit(shown.length);
    shown.forEach((row, index) => this.#fill(this.body.rows[index], row, from + index));
    this.#leaveRoom(this.above, from);
    this.#leaveRoom(this.below, this.rows.length - from - shown.length);
    write(this.below, this.rows.length ? "" : this.nothing);
    this.table.ariaRowCount = String(this.rows.length + 1);
    this.place.classList.toggle("more", scrollWidth - clientWidth - scrollLeft > 1);
  }

  #leaveRoom(cell, rows) {
    cell.style.height = `${rows * this.rowHeight}px`;
    cell.dataset.rows = count(rows);
  }

  #soon() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = undefined;
      this.draw();
    });
  }

  #parts() {
    const head = make("tr", "", ...this.heads);
    head.ariaRowIndex = "1";
    const [above, below] = [this.above, this.below].map((cell) => {
      cell.colSpan = this.columns.length;
      return make("tbody", "space", make("tr", "", cell));
    });
    return [make("thead", "", head), above, this.body, below];
  }

  #head({ key, name, className = "", down = false }) {
    const head = make("th", className);
    head.scope = "col";
    if (!this.onOrder) {
      head.append(name);
      return head;
    }
    const button = make("button", "", name);
    button.type = "button";
    button.addEventListener("click", () => {
      this.sortBy({ key, down: this.order?.key === key ? !this.order.down : down });
      this.onOrder();
    });
    head.append(button);
    return head;
  }

  /** Have this many rows in the document. */
  #fit(wanted) {
    while (this.body.rows.length > wanted) this.body.lastChild.remove();
    while (this.body.rows.length < wanted) {
      const cells = this.columns.map(({ className = "" }) => make("td", className));
      this.body.append(make("tr", "", ...cells));
    }
  }

  #fill(element, row, index) {
    this.columns.forEach(({ key, text }, place) => {
      write(element.cells[place], text ? text(row) : row[key]);
    });
    element.dataset.state = row.state ?? row.reason ?? "";
    element.ariaRowIndex = String(index + 2);
  }
}

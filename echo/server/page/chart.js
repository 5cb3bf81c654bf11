/** Small charts of the last minutes, as SVG: one area, and a line over it. */

import { make, write } from "./dom.js";
import { duration } from "./format.js";

// Seconds that a chart shows: as few of these as hold all points.
const SPANS = [60, 120, 300];
const [WIDTH, HEIGHT] = [600, 100];
const SVG = "http://www.w3.org/2000/svg";

/** @typedef {{at: number, value: number}} Point at a second of the server's time */

export class Chart {
  /**
   * @param {HTMLElement} figure
   * @param {string} name what is drawn
   * @param {(value: number) => string} format
   * @param {string} [lines] what they are, where there are two
   */
  constructor(figure, name, format, lines = "") {
    this.name = name;
    this.format = format;
    this.svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none" });
    this.svg.setAttribute("role", "img");
    this.area = draw("path", { class: "area" });
    this.line = draw("path", { class: "line" });
    this.over = draw("path", { class: "over" });
    this.svg.append(this.area, this.line, this.over);
    this.now = make("b");
    this.most = make("span", "most");
    const title = make("figcaption", "", `${name} `, this.now, make("span", "small", lines));
    this.start = make("span");
    const axis = make("p", "axis", this.start, make("span", "", "now"));
    axis.setAttribute("aria-hidden", "true");
    this.most.setAttribute("aria-hidden", "true");
    figure.append(title, make("div", "plot", this.most, this.svg), axis);
  }

  /**
   * Draw the points that are young enough.
   *
   * @param {Point[]} points the newest last
   * @param {Point[]} [over] those of the line
   */
  draw(points, over = []) {
    const now = points.at(-1)?.at ?? 0;
    const span = SPANS.find((seconds) => seconds >= now - points[0]?.at) ?? SPANS.at(-1);
    const young = points.filter(({ at }) => at >= now - span);
    const values = young.map(({ value }) => value);
    const most = Math.max(0, ...values);
    const place = ({ at, value }) => [
      WIDTH + ((at - now) / span) * WIDTH,
      HEIGHT - (value / nice(most)) * (HEIGHT - 6) - 2,
    ];
    const line = path(young.map(place));
    this.line.setAttribute("d", line);
    this.area.setAttribute("d", line && closed(line, place(young[0])[0]));
    this.over.setAttribute("d", path(over.filter(({ at }) => at >= now - span).map(place)));
    write(this.start, span === SPANS[0] ? "1 minute ago" : `${span / 60} minutes ago`);
    this.#say(values, most, young.length ? now - young[0].at : 0);
  }

  #say(values, most, seconds) {
    const [now, least] = [values.at(-1) ?? 0, Math.min(...values, most)];
    write(this.now, this.format(now));
    write(this.most, this.format(nice(most)));
    const range = `between ${this.format(least)} and ${this.format(most)}`;
    const text = `${this.name}: ${this.format(now)} now, ${range} in the last ${duration(seconds)}`;
    this.svg.setAttribute("aria-label", text);
  }
}

function draw(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function path(places) {
  return places.map(([x, y], index) => `${index ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
}

function closed(line, start) {
  return `${line}L${WIDTH} ${HEIGHT}L${start.toFixed(1)} ${HEIGHT}Z`;
}

/** Round up to 1, 2 or 5 and zeros: the scale then stands still while values move. */
function nice(value) {
  if (value <= 1) return 1;
  const zeros = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].find((step) => step * zeros >= value) * zeros;
}

/**
 * Turn counts into rates.
 *
 * @param {Point[]} points
 * @returns {Point[]}
 */
export function rates(points) {
  return points.slice(1).map(({ at, value }, index) => {
    const last = points[index];
    return { at, value: Math.max(0, value - last.value) / Math.max(at - last.at, 0.001) };
  });
}

/* global uPlot */
/** The history as charts, drawn by uPlot: axes, values under the pointer, zoom. */

import { byId, make, write } from "./dom.js";
import { bytes, count, rate } from "./format.js";

/** Ranges of time in seconds, by their names in the page's address. */
export const RANGES = { "1m": ["1 minute", 60], "5m": ["5 minutes", 300], "1h": ["1 hour", 3600] };
const HEIGHT = 170;
const LEAST_STEP = 1; // seconds between two points that make a rate worth drawing
const LEAST_DRAG = 8; // pixels
const LEAST_SCALE = 2; // so that counts have whole numbers at their axis
const AXIS = { stroke: () => css("--quiet"), grid: { stroke: () => css("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };

const timeOfDay = new Intl.DateTimeFormat("en", { timeStyle: "medium", hourCycle: "h23" });
/** @param {number} seconds since 1970 @returns {string} the time of day */
export const clock = (seconds) => timeOfDay.format(seconds * 1000);
const perSecond = (value) => `${value < 10 ? Math.round(value * 10) / 10 : count(Math.round(value))}/s`;

// What is drawn. `of` are fields of a point (1 sessions, 2 received, 3 sent, 4 accepted, 5 refused);
// the second line is drawn downwards where both would cover each other.
const CHARTS = [
  { name: "Sessions", of: [1], words: [""], format: (value) => count(Math.round(value)) },
  { name: "Bytes", of: [2, 3], words: ["received", "sent, below"], format: rate, axis: bytes, rates: true, down: true },
  { name: "New sessions", of: [4, 5], words: ["accepted", "refused"], format: perSecond, rates: true },
];

export class Charts {
  #range = "5m";
  #zoom = null;

  /** @param {(range: string) => void} onRange called when the user chooses a range */
  constructor(onRange) {
    for (const [name, [text]] of Object.entries(RANGES)) {
      const input = Object.assign(document.createElement("input"), { type: "radio", name: "range", value: name });
      input.addEventListener("change", () => {
        this.choose(name);
        onRange(name);
      });
      byId("range").append(make("label", "", input, text));
    }
    this.charts = CHARTS.map((chart) => this.#make(chart));
    this.choose(this.#range);
    new ResizeObserver(() => this.#resize()).observe(byId("charts"));
    for (const query of ["(prefers-color-scheme: dark)", "(forced-colors: active)"]) {
      matchMedia(query).addEventListener("change", () => this.charts.forEach(({ plot }) => plot.redraw()));
    }
  }

  /** @param {string} range */
  choose(range) {
    if (range in RANGES) this.#range = range;
    this.#zoom = null;
    for (const input of byId("range").querySelectorAll("input")) input.checked = input.value === this.#range;
    this.#draw();
  }

  /** @param {object} snapshot */
  show({ history, server, totals }) {
    const latest = [server.uptime_s, totals.active_sessions, totals.received_bytes, totals.sent_bytes];
    this.latest = [...latest, totals.accepted, totals.refused];
    this.points = history;
    this.began = Date.now() / 1000 - server.uptime_s;
    this.#draw();
  }

  #draw() {
    if (!this.points) return;
    const now = this.latest[0];
    const recent = now - (this.points.at(-1)?.[0] ?? 0);
    const points = [...this.points, this.latest];
    // Of less than a second a rate would jump.
    const forRates = recent < LEAST_STEP ? this.points : points;
    const [from, to] = this.#zoom ?? [this.began + now - RANGES[this.#range][1], this.began + now];
    for (const chart of this.charts) {
      const used = chart.rates ? forRates : points;
      const times = used.slice(chart.rates ? 1 : 0).map(([at]) => this.began + at);
      const lines = chart.of.map((field, index) => valuesOf(used, field, chart, index));
      chart.values = lines;
      chart.plot.batch(() => {
        chart.plot.setData([times, ...lines], false);
        chart.plot.setScale("x", { min: from, max: to });
        const seen = lines.map((line) => line.filter((_, index) => times[index] >= from && times[index] <= to));
        const most = nice(Math.max(LEAST_SCALE, ...seen.flat().map(Math.abs)));
        chart.plot.setScale("y", { min: chart.down ? -most : 0, max: most });
      });
      this.#describe(chart, lines);
    }
  }

  #make(chart) {
    const shown = chart.words.map((word, index) => {
      const value = make("b");
      return { value, part: make("span", `line-${index}`, value, word && ` ${word}`) };
    });
    const when = make("span", "small");
    const place = Object.assign(make("div", "plot"), { role: "img", tabIndex: 0 });
    const values = shown.map(({ part }) => part);
    const title = make("figcaption", "", make("p", "", chart.name, when), make("p", "", ...values));
    byId("charts").append(make("figure", "card", title, place));
    const made = { ...chart, shown: shown.map(({ value }) => value), when, place };
    made.plot = new uPlot(this.#options(made), [[]], place);
    place.addEventListener("keydown", (event) => step(made.plot, event));
    made.plot.over.addEventListener("dblclick", () => this.choose(this.#range));
    return made;
  }

  #options(chart) {
    const line = (index) => ({
      stroke: () => css(`--line-${index}`),
      fill: () => css(`--area-${index}`),
      width: 1.75,
      points: { show: false },
    });
    const values = (_, splits) => splits.map((value) => (chart.axis ?? chart.format)(Math.abs(value)));
    return {
      width: 300,
      height: HEIGHT,
      padding: [10, 28, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: "echod" }, drag: { x: true, y: false, setScale: false }, y: false },
      scales: { x: { time: true }, y: { auto: false } },
      axes: [
        { ...AXIS, size: 26, space: 80, values: (_, splits) => splits.map(clock) },
        { ...AXIS, size: 64, values, splits: ({ scales: { y } }) => [y.min, (y.min + y.max) / 2, y.max] },
      ],
      series: [{}, ...chart.of.map((_, index) => line(index))],
      hooks: {
        setCursor: [({ cursor: { idx }, data }) => this.#read(chart, idx, idx == null ? "" : clock(data[0][idx]))],
        setSelect: [(plot) => this.#select(plot)],
      },
    };
  }

  /** Zoom all charts to what was selected in one. */
  #select(plot) {
    const { left, width } = plot.select;
    if (width < LEAST_DRAG) return;
    this.#zoom = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    for (const input of byId("range").querySelectorAll("input")) input.checked = false;
    this.#draw();
  }

  /** Write the values at a point, or the latest. */
  #read({ values, shown, format, when }, index, time) {
    values?.forEach((line, number) => write(shown[number], format(Math.abs(line.at(index ?? -1) ?? 0))));
    write(when, time && `at ${time}`);
  }

  #describe(chart, lines) {
    if (chart.plot.cursor.idx == null) this.#read(chart, null, "");
    const parts = lines.map((line, index) => {
      const [most, now] = [Math.max(0, ...line.map(Math.abs)), Math.abs(line.at(-1) ?? 0)];
      return `${chart.words[index]} ${chart.format(now)} now, at most ${chart.format(most)}`;
    });
    chart.place.ariaLabel = `${chart.name}: ${parts.join("; ")}.`;
  }

  #resize() {
    for (const { plot, place } of this.charts) {
      if (place.clientWidth) plot.setSize({ width: place.clientWidth, height: HEIGHT });
    }
  }
}

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);

function valuesOf(points, field, chart, index) {
  const values = points.map((point) => point[field] ?? 0);
  if (!chart.rates) return values;
  const sign = chart.down && index ? -1 : 1;
  return values.slice(1).map((value, place) => {
    const seconds = Math.max(points[place + 1][0] - points[place][0], 0.001);
    return (sign * Math.max(0, value - values[place])) / seconds;
  });
}

/** Move the cursor of a chart by a key. */
function step(plot, event) {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!by || !plot.data[0].length) return;
  event.preventDefault();
  const index = (plot.cursor.idx ?? plot.data[0].length) + by;
  const at = plot.data[0][Math.max(0, Math.min(index, plot.data[0].length - 1))];
  plot.setCursor({ left: plot.valToPos(at, "x"), top: 1 });
}

/** Round up so that half of it is round, too: the scale then stands still while values move. */
function nice(value) {
  const zeros = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 6, 8, 10].find((factor) => factor * zeros >= value) * zeros;
}

/** The page: each answer of the daemon goes through here to everything that shows a part of it. */

import { Chart, rates } from "./chart.js";
import { byId, make, write } from "./dom.js";
import { Ends } from "./ends.js";
import { Feed } from "./feed.js";
import { Field } from "./field.js";
import { address, bytes, count, duration, plural, rate } from "./format.js";
import { Model } from "./model.js";
import { Picture, SOME_DOZENS } from "./picture.js";
import { foundText, Table } from "./table.js";

// Milliseconds between two sentences for those who listen to the page.
const SUMMARY_EVERY = 10_000;
// Seconds of the least time that gives a rate worth drawing.
const LEAST_STEP = 1;

const model = new Model();
const picture = new Picture();
const field = new Field();
const table = new Table(showTable);
const ends = new Ends();
const sessionsChart = new Chart(byId("chart-sessions"), "Sessions", (value) => count(Math.round(value)));
const bytesChart = new Chart(byId("chart-bytes"), "Bytes", rate, "received, and dashed what was sent");
const feed = new Feed(show, lost);
let lostAt = 0;
let summaryAt = 0;

/** @param {object} now what the daemon answered */
function show(now) {
  found();
  model.update(now.sessions);
  const states = model.states();
  showServer(now);
  showNumbers(now);
  showCharts(now);
  picture.show(now, model.rows);
  if (model.rows.size > SOME_DOZENS) field.show(model.rows, states);
  showTable();
  ends.show(now.ended);
  summarise(states);
}

function showServer({ server, listening, sessions }) {
  const status = byId("status");
  write(status, server.draining ? "draining" : "serving");
  status.dataset.health = server.draining ? "draining" : "serving";
  const loop = `${server.loop} loop`;
  write(byId("about"), `${server.version}, ${loop}, pid ${server.pid}, up ${duration(server.uptime_s)}`);
  document.title = `${count(sessions.length)} · echod ${address(listening.host, listening.port)}`;
}

function showNumbers({ totals, server }) {
  const facts = [
    ["sessions", `${count(totals.active_sessions)} of ${count(server.limits.max_sessions)}`],
    ["accepted", count(totals.accepted)],
    ["closed", count(totals.closed)],
    ["refused", count(totals.refused), totals.refused > 0],
    ["received", bytes(totals.received_bytes)],
    ["sent", bytes(totals.sent_bytes)],
    ["threads", count(totals.threads)],
    ["log lines lost", count(totals.log_dropped), totals.log_dropped > 0],
  ];
  const numbers = byId("numbers");
  if (!numbers.children.length) {
    numbers.append(...facts.map(([name]) => make("div", "", make("dt", "", name), make("dd"))));
  }
  facts.forEach(([, text, wrong], index) => {
    const place = numbers.children[index];
    write(place.lastChild, text);
    place.classList.toggle("wrong", Boolean(wrong));
  });
}

function showCharts({ history, server, totals }) {
  const latest = [server.uptime_s, totals.active_sessions, totals.received_bytes, totals.sent_bytes];
  const points = [...history, latest];
  const long = latest[0] - history.at(-1)?.[0] < LEAST_STEP ? history : points;
  const column = (from, place) => from.map((point) => ({ at: point[0], value: point[place] }));
  sessionsChart.draw(column(points, 1));
  bytesChart.draw(rates(column(long, 2)), rates(column(long, 3)));
}

function showTable() {
  const filter = { text: byId("find").value, state: byId("state").value };
  const rows = model.select(filter, table.order);
  table.show(rows);
  write(byId("found"), foundText(rows.length, model.rows.size));
}

function summarise(states) {
  if (Date.now() < summaryAt) return;
  summaryAt = Date.now() + SUMMARY_EVERY;
  const parts = Object.entries(states).filter(([, number]) => number);
  const details = parts.map(([state, number]) => `${count(number)} ${state}`).join(", ");
  write(byId("summary"), `${plural(model.rows.size, "session")}${details && `: ${details}`}.`);
}

function found() {
  lostAt = 0;
  byId("notice").hidden = true;
  document.body.classList.remove("stale");
}

function lost(why) {
  lostAt ||= Date.now();
  const since = duration(Math.round((Date.now() - lostAt) / 1000));
  const what = why ? `The daemon can't be asked: ${why}.` : "The daemon doesn't answer.";
  const notice = byId("notice");
  if (notice.hidden) write(notice, `${what} This page asks again every second, and shows what it knew.`);
  notice.hidden = false;
  const status = byId("status");
  write(status, `no answer for ${since}`);
  status.dataset.health = "lost";
  document.body.classList.add("stale");
}

function togglePause() {
  const paused = !feed.paused;
  feed.pause(paused);
  byId("pause").setAttribute("aria-pressed", String(paused));
  write(byId("pause"), paused ? "Paused" : "Pause");
  document.body.classList.toggle("paused", paused);
}

byId("pause").addEventListener("click", togglePause);
byId("find").addEventListener("input", showTable);
byId("state").addEventListener("change", showTable);
feed.run();

/** The page: each snapshot of the daemon goes through here to all that shows a part of it. */

import { Charts } from "./charts.js";
import { Diagram } from "./diagram.js";
import { byId, keyed, make, write } from "./dom.js";
import { address, bytes, count, duration, plural, rate } from "./format.js";
import { Model, STATES, statesOf } from "./model.js";
import { Poller } from "./poller.js";
import { Table } from "./table.js";

// Milliseconds between two sentences for those who listen to the page.
const SUMMARY_EVERY = 10_000;
// The share of the limit from which the number of sessions is a warning.
const NEARLY_FULL = 0.9;
/** What the log's closed list of reasons means, in a few words. */
export const MEANINGS = {
  eof: "the client has finished",
  reset: "the connection broke",
  idle_timeout: "silent for too long",
  session_timeout: "lasted for too long",
  write_timeout: "the client read nothing for too long",
  byte_limit: "sent as many bytes as it may",
  drained: "the daemon stops",
  cut: "the daemon had to end it",
  tls_error: "TLS went wrong",
  proxy_error: "the PROXY header was wrong",
  error: "a fault in the daemon; see its log",
};

const number = (key, name, text) => ({ key, name, text, className: "number", down: true });
const BYTES = [
  number("rate", "rate", (row) => rate(row.rate)),
  number("received_bytes", "in", (row) => bytes(row.received_bytes)),
  number("sent_bytes", "out", (row) => bytes(row.sent_bytes)),
];
const SESSION = { key: "session_id", name: "session", className: "wide" };
const PEER = { key: "peerKey", name: "peer", text: (row) => row.peer };
const AGE = number("age", "age", (row) => duration(row.duration_s));
const THREAD = { key: "thread", name: "thread", className: "number wide" };
const STATE = { key: "state", name: "state", className: "state" };
const FD = { key: "fd", name: "fd", className: "number" };

const model = new Model();
const choice = { find: "", state: "", sort: "-age", clients: "-sessions", range: "5m", reason: "" };
const charts = new Charts((range) => choose({ range }));
const diagram = new Diagram((peer) => choose({ find: (byId("find").value = peer) }));
const sessions = new Table(byId("session-table"), "Sessions", [FD, PEER, STATE, ...BYTES, AGE, THREAD, SESSION], "No session.", () => choose({ sort: written(sessions.order) }));
const clients = new Table(byId("client-table"), "Clients", [
  { key: "ipKey", name: "client", text: (row) => row.ip },
  number("sessions", "sessions", (row) => count(row.sessions)),
  ...BYTES,
  number("refused", "refused", (row) => count(row.refused)),
], "No client.", () => choose({ clients: written(clients.order) }));
const closed = new Table(byId("closed-table"), "Recently closed sessions, the newest first", [
  { key: "peer", name: "peer", text: (end) => address(end.peer_ip, end.peer_port) },
  { key: "reason", name: "reason", className: "reason" },
  { key: "meaning", name: "meaning", text: (end) => end.detail ?? MEANINGS[end.reason] ?? "", className: "meaning" },
  ...BYTES.slice(1),
  number("duration_s", "lasted", (end) => duration(end.duration_s)),
  SESSION,
], "No session has ended yet.");
const poller = new Poller(show, lost);
let snapshot;
let lostAt = 0;
let summaryAt = 0;

/** @param {object} now what the daemon answered */
function show(now) {
  snapshot = now;
  lostAt = 0;
  byId("notice").hidden = true;
  document.body.classList.remove("stale");
  model.update(now);
  showServer(now);
  const warnings = showWarnings(now);
  showNumbers(now);
  charts.show(now);
  clients.show([...model.clients.values()]);
  showSessions();
  showClosed();
  summarize(warnings);
}

function showServer({ server, listening, sessions: { length } }) {
  const health = server.draining ? "draining" : "serving";
  write(byId("status"), health);
  byId("status").dataset.health = health;
  const loop = `${server.loop} loop`;
  write(byId("about"), `${server.version}, ${loop}, pid ${server.pid}, up ${duration(server.uptime_s)}`);
  document.title = `${count(length)} · echod ${address(listening.host, listening.port)}`;
}

/** Show what somebody has to look into, and return it. */
function showWarnings({ totals, refused, server: { uptime_s, limits, log_problem }, history }) {
  const since = (seconds) => {
    const start = uptime_s - seconds;
    const before = history.findLast(([at]) => at <= start) ?? (start > 0 ? history[0] : undefined);
    return totals.refused - (before?.[5] ?? 0);
  };
  const reasons = Object.entries(refused?.by_reason ?? {}).map(([reason, n]) => `${reason} ${count(n)}`);
  const why = reasons.length ? ` (${reasons.join(", ")})` : "";
  const { active_sessions, log_dropped } = totals;
  const warnings = [
    totals.refused > 0 && `${plural(totals.refused, "connection")} refused${why}: ` +
      `${count(since(60))} in the last minute, ${count(since(3600))} in the last hour.`,
    log_problem && `The log can't be written (${log_problem}). Its lines wait until it can.`,
    log_dropped > 0 && `${plural(log_dropped, "log line")} lost: the disk is full or the log can't keep up.`,
    active_sessions >= limits.max_sessions * NEARLY_FULL &&
      `${count(active_sessions)} of at most ${count(limits.max_sessions)} sessions are open.`,
  ].filter(Boolean);
  byId("warnings").hidden = !warnings.length;
  keyed(byId("warnings"), warnings.map((_, index) => String(index)), () => make("li"))
    .forEach((item, index) => write(item, warnings[index]));
  return warnings;
}

function showNumbers({ totals, server }) {
  const facts = {
    sessions: `${count(totals.active_sessions)} of ${count(server.limits.max_sessions)}`,
    clients: count([...model.clients.values()].filter((client) => client.sessions).length),
    accepted: count(totals.accepted),
    closed: count(totals.closed),
    refused: count(totals.refused),
    received: bytes(totals.received_bytes),
    sent: bytes(totals.sent_bytes),
    threads: count(totals.threads),
    "log lines lost": count(totals.log_dropped),
  };
  keyed(byId("numbers"), Object.keys(facts), (name) => make("div", "", make("dt", "", name), make("dd")))
    .forEach((fact) => write(fact.lastChild, facts[fact.dataset.key]));
}

function showSessions() {
  const rows = model.select({ text: choice.find, state: choice.state });
  const all = model.rows.size;
  sessions.show(rows);
  write(byId("found"), rows.length === all ? `${count(all)} shown` : `${count(rows.length)} of ${count(all)} match`);
  if (snapshot) diagram.show(snapshot, model, choice.find || choice.state ? new Set(rows) : null);
}

function showClosed() {
  const ended = snapshot?.ended ?? [];
  const counts = ended.reduce((all, { reason }) => ({ ...all, [reason]: (all[reason] ?? 0) + 1 }), {});
  if (choice.reason) counts[choice.reason] ??= 0;
  keyed(byId("reasons"), Object.keys(counts).sort(), newReason).forEach((button) => {
    const { key } = button.dataset;
    write(button.lastChild, count(counts[key]));
    button.ariaPressed = String(key === choice.reason);
  });
  closed.show(choice.reason ? ended.filter(({ reason }) => reason === choice.reason) : ended);
}

function newReason(reason) {
  const button = make("button", "reason", `${reason} `, make("b"));
  button.type = "button";
  button.title = MEANINGS[reason] ?? "";
  button.addEventListener("click", () => choose({ reason: choice.reason === reason ? "" : reason }));
  return button;
}

function summarize(warnings) {
  if (Date.now() < summaryAt) return;
  summaryAt = Date.now() + SUMMARY_EVERY;
  const details = Object.entries(statesOf(model.rows.values())).map(([state, n]) => `${count(n)} ${state}`);
  const states = details.length ? `: ${details.join(", ")}` : "";
  write(byId("summary"), [`${plural(model.rows.size, "session")}${states}.`, ...warnings].join(" "));
}

function lost(why) {
  lostAt ||= Date.now();
  const since = duration(Math.round((Date.now() - lostAt) / 1000) || 1);
  const what = why ? `The daemon can't be asked: ${why}.` : "The daemon doesn't answer.";
  const notice = byId("notice");
  if (notice.hidden) write(notice, `${what} This page asks again every second, and shows what it knew.`);
  notice.hidden = false;
  write(byId("status"), `no answer for ${since}`);
  byId("status").dataset.health = "lost";
  document.body.classList.add("stale");
}

// -- what the user chooses, and the address that keeps it ------------------------------------

const written = ({ key, down }) => (down ? "-" : "") + key;
const order = (text) => ({ key: text.replace("-", ""), down: text.startsWith("-") });
const usual = { ...choice };

/** Choose something, and keep it in the page's address. @param {Partial<typeof choice>} chosen */
function choose(chosen) {
  Object.assign(choice, chosen);
  const kept = Object.entries(choice).filter(([name, value]) => value !== usual[name]);
  history.replaceState(null, "", kept.length ? `?${new URLSearchParams(kept)}` : location.pathname);
  if (snapshot) clients.show([...model.clients.values()]);
  showSessions();
  showClosed();
}

/** Choose what the page's address says. */
function restore() {
  for (const [name, value] of new URLSearchParams(location.search)) if (name in choice) choice[name] = value;
  if (!STATES.includes(choice.state)) choice.state = "";
  byId("find").value = choice.find;
  byId("state").value = choice.state;
  sessions.sortBy(order(choice.sort));
  clients.sortBy(order(choice.clients));
  charts.choose(choice.range);
}

byId("state").append(...STATES.map((state) => make("option", "", state)));
byId("find").addEventListener("input", () => choose({ find: byId("find").value }));
byId("state").addEventListener("change", () => choose({ state: byId("state").value }));
byId("pause").addEventListener("click", () => {
  poller.pause(!poller.paused);
  write(byId("pause"), poller.paused ? "Resume" : "Pause");
});
restore();
poller.run();

/** What the page knows: sessions with their rates, clients with their sums. */

import { address } from "./format.js";

/** The states of a session, as the daemon names them. */
export const STATES = ["idle", "echoing", "waiting for the peer", "draining", "handshaking"];
// A session that was first seen when it was this young, in seconds, has its rate from its start.
const YOUNG = 3;

/**
 * A session: its facts from `/sessions`, and
 *
 * @typedef {object} Row
 * @property {string} peer address and port
 * @property {string} [peerKey] by which peers sort, numbers in it by their value; made when they do
 * @property {number} age by which ages sort: 0 is the oldest, less is younger
 * @property {?number} rate bytes received a second; null at first sight of an old session
 */

/**
 * All sessions of one address.
 *
 * @typedef {object} Client
 * @property {string} ip
 * @property {string} ipKey by which addresses sort
 * @property {Row[]} rows
 * @property {number} sessions
 * @property {number} received_bytes of the sessions that are open
 * @property {number} sent_bytes
 * @property {?number} rate
 * @property {number} refused connections
 */

export class Model {
  /** @type {Map<string, Row>} by session id, the oldest first */
  rows = new Map();
  /** @type {Map<string, Client>} by address, the one with the oldest session first */
  clients = new Map();

  /** Take a new snapshot in. @param {{sessions: object[], refused?: object}} snapshot */
  update({ sessions, refused }) {
    const before = this.rows;
    this.rows = new Map();
    this.clients = new Map();
    sessions.forEach((facts, index) => {
      const row = describe(facts, before.get(facts.session_id));
      // The daemon reads thousands of durations one after the other, but lists them in order.
      row.age = -index;
      this.rows.set(facts.session_id, row);
      this.#client(row.peer_ip).rows.push(row);
    });
    for (const [ip, number] of Object.entries(refused?.by_peer ?? {})) this.#client(ip).refused = number;
    for (const client of this.clients.values()) sum(client);
  }

  #client(ip) {
    let client = this.clients.get(ip);
    if (!client) this.clients.set(ip, (client = { ip, ipKey: keyOf(ip), rows: [], refused: 0 }));
    return client;
  }

  /**
   * Return the rows that match.
   *
   * @param {{text: string, state: string}} filter
   * @returns {Row[]}
   */
  select({ text, state }) {
    const wanted = text.trim().toLowerCase();
    return [...this.rows.values()].filter(
      (row) => (!state || row.state === state) && (!wanted || contains(row, wanted)),
    );
  }
}

/**
 * Count rows by state, leaving out the states that none is in.
 *
 * @param {Iterable<Row>} rows
 * @returns {Record<string, number>}
 */
export function statesOf(rows) {
  const counts = {};
  for (const { state } of rows) counts[state] = (counts[state] ?? 0) + 1;
  return counts;
}

/**
 * Sort by a field; equals keep their order, unknown values come last.
 *
 * @template T
 * @param {T[]} rows
 * @param {{key: string, down: boolean}} order
 * @returns {T[]}
 */
export function sorted(rows, { key, down }) {
  const sign = down ? -1 : 1;
  if (key === "peerKey") for (const row of rows) row.peerKey ??= keyOf(row.peer);
  return [...rows].sort((a, b) => sign * compare(a[key] ?? -Infinity, b[key] ?? -Infinity));
}

const compare = (a, b) => (a === b ? 0 : a < b ? -1 : 1);

function describe(facts, last) {
  if (last?.duration_s === facts.duration_s) return last; // the same snapshot, sent again
  // Behind a proxy the peer is known a moment later than its socket.
  const same = last && last.peer_port === facts.peer_port && last.peer_ip === facts.peer_ip;
  const peer = same ? last.peer : address(facts.peer_ip, facts.peer_port);
  return Object.assign(facts, { peer, peerKey: same ? last.peerKey : undefined, rate: rateOf(facts, last) });
}

const keyOf = (text) => text.replace(/\d+/g, (digits) => digits.padStart(5, "0"));

function rateOf(facts, last) {
  if (!last && facts.duration_s > YOUNG) return null;
  const seconds = facts.duration_s - (last?.duration_s ?? 0);
  return (facts.received_bytes - (last?.received_bytes ?? 0)) / Math.max(seconds, 0.001);
}

function sum(client) {
  const total = (name) => client.rows.reduce((all, row) => all + (row[name] ?? 0), 0);
  client.sessions = client.rows.length;
  client.received_bytes = total("received_bytes");
  client.sent_bytes = total("sent_bytes");
  client.rate = client.rows.some((row) => row.rate !== null) ? total("rate") : null;
}

function contains(row, wanted) {
  return (
    row.peer.includes(wanted) ||
    row.session_id.includes(wanted) ||
    String(row.fd) === wanted ||
    String(row.thread) === wanted
  );
}

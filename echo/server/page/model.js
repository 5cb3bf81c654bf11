/** What the page knows of each session: its last facts, and the rate that two of them give. */

import { address } from "./format.js";

/**
 * A session as the page shows it: its facts from `/sessions`, and
 *
 * @typedef {object} Row
 * @property {string} peer address and port
 * @property {string} peerKey by which peers sort: numbers in it by their value
 * @property {number} age by which ages sort: 0 is the oldest, less is younger
 * @property {?number} rate bytes a second that were read; null at first sight of an old session
 */

// A session that was first seen when it was this young has its rate from its beginning.
const YOUNG = 3;

export class Model {
  /** @type {Map<string, Row>} by session id, the oldest first */
  rows = new Map();

  /** Take a new picture in. @param {object[]} sessions */
  update(sessions) {
    const before = this.rows;
    this.rows = new Map();
    sessions.forEach((facts, index) => {
      const row = describe(facts, before.get(facts.session_id));
      // The daemon reads thousands of durations one after the other, but lists them in order.
      row.age = -index;
      this.rows.set(facts.session_id, row);
    });
  }

  /**
   * Give the rows that match, in order.
   *
   * @param {{text: string, state: string}} filter
   * @param {{key: string, down: boolean}} order
   * @returns {Row[]}
   */
  select(filter, order) {
    const found = [...this.rows.values()].filter(matching(filter));
    const sign = order.down ? -1 : 1;
    return found.sort((a, b) => sign * compare(a[order.key], b[order.key]));
  }

  /** Count the rows by state. @returns {{reading: number, sending: number, draining: number}} */
  states() {
    const counts = { reading: 0, sending: 0, draining: 0 };
    for (const row of this.rows.values()) counts[row.state] += 1;
    return counts;
  }
}

function describe(facts, last) {
  if (last?.duration_s === facts.duration_s) return last; // the same picture, asked for again
  // Behind a proxy the peer is known a moment later than its socket.
  const same = last && last.peer_port === facts.peer_port && last.peer_ip === facts.peer_ip;
  return {
    ...facts,
    peer: same ? last.peer : address(facts.peer_ip, facts.peer_port),
    peerKey: same ? last.peerKey : keyOf(facts),
    rate: rateOf(facts, last),
  };
}

function keyOf({ peer_ip, peer_port }) {
  return `${peer_ip}:${peer_port}`.replace(/\d+/g, (digits) => digits.padStart(5, "0"));
}

function rateOf(facts, last) {
  if (!last && facts.duration_s > YOUNG) return null;
  const seconds = facts.duration_s - (last?.duration_s ?? 0);
  return (facts.received_bytes - (last?.received_bytes ?? 0)) / Math.max(seconds, 0.001);
}

function compare(a, b) {
  if (a === b) return 0;
  if (a === null || b === null) return a === null ? -1 : 1;
  return a < b ? -1 : 1;
}

function matching({ text, state }) {
  const wanted = text.trim().toLowerCase();
  return (row) => inState(row, state) && (!wanted || says(row, wanted));
}

function inState(row, state) {
  return !state || row.state === state || (state === "moving" && row.rate > 0);
}

function says(row, wanted) {
  return (
    row.peer.includes(wanted) ||
    row.session_id.includes(wanted) ||
    String(row.fd) === wanted ||
    String(row.thread) === wanted
  );
}

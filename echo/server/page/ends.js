/** The sessions that have ended last, with what their reasons mean. */

import { byId, make } from "./dom.js";
import { address, bytes, duration } from "./format.js";

/** What the log's closed list of reasons means, in a few words. */
export const MEANINGS = {
  eof: "the client said that it was done",
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
const NUMBER = "number";
const HEADS = [["peer"], ["reason"], ["in", NUMBER], ["out", NUMBER], ["lasted", NUMBER], ["session", "wide"]];

export class Ends {
  constructor() {
    this.newest = undefined;
    this.body = make("tbody");
    const heads = HEADS.map(([name, className]) => {
      const head = make("th", className, name);
      head.scope = "col";
      return head;
    });
    const caption = make("caption", "unseen", "Sessions that have ended, the newest first");
    byId("ends").append(caption, make("thead", "", make("tr", "", ...heads)), this.body);
  }

  /** @param {object[]} ended the newest first */
  show(ended) {
    const newest = ended[0]?.session_id;
    if (newest === this.newest && this.body.rows.length) return;
    this.newest = newest;
    this.body.replaceChildren(...(ended.length ? ended.map(rowOf) : [nothing()]));
  }
}

function rowOf(end) {
  const reason = make("span", `reason ${end.reason}`, end.reason);
  const meaning = end.detail ?? MEANINGS[end.reason] ?? "";
  const cells = [
    make("td", "peer", address(end.peer_ip, end.peer_port)),
    make("td", "", reason, " ", make("span", "small", meaning)),
    make("td", NUMBER, bytes(end.received_bytes)),
    make("td", NUMBER, bytes(end.sent_bytes)),
    make("td", NUMBER, duration(end.duration_s)),
    make("td", "wide", end.session_id),
  ];
  return make("tr", "", ...cells);
}

function nothing() {
  const cell = make("td", "small", "No session has ended yet.");
  cell.colSpan = HEADS.length;
  return make("tr", "", cell);
}

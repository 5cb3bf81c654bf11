/** Asks the daemon for its snapshot again and again, and reports when it doesn't answer. */

const TIMEOUT = 5000;
const RETRY = 1000;
// Milliseconds between two requests. Half a second looks alive; thousands of rows are a megabyte
// and some milliseconds of the daemon's time.
const FEW = { sessions: 200, interval: 500 };
const MANY = { sessions: 2000, interval: 1000 };
const INTERVAL_OF_THOUSANDS = 2000;

/**
 * The answer of `/sessions`; docs/operations.md names its fields.
 *
 * @typedef {object} Snapshot
 */

export class Poller {
  /**
   * @param {(snapshot: Snapshot) => void} onSnapshot
   * @param {(why: string) => void} onLost called for each request without an answer
   */
  constructor(onSnapshot, onLost) {
    this.onSnapshot = onSnapshot;
    this.onLost = onLost;
    this.paused = false;
    this.wake = () => {};
    document.addEventListener("visibilitychange", () => this.wake());
  }

  /** Ask until the page is closed; a page that is not visible doesn't ask. */
  async run() {
    for (;;) {
      if (this.paused || document.hidden) await this.#sleep();
      else await this.#sleep(await this.#ask());
    }
  }

  /** @param {boolean} paused */
  pause(paused) {
    this.paused = paused;
    this.wake();
  }

  /** @returns {Promise<number>} milliseconds until the next request */
  async #ask() {
    let snapshot;
    try {
      const answer = await fetch("sessions", { signal: AbortSignal.timeout(TIMEOUT) });
      if (!answer.ok) throw new Error(`it answers ${answer.status}`);
      snapshot = await answer.json();
    } catch (error) {
      this.onLost(error.name === "Error" ? error.message : "");
      return RETRY;
    }
    if (!this.paused) this.onSnapshot(snapshot);
    return intervalFor(snapshot.sessions.length);
  }

  /** Sleep this long, or until something wakes it. @param {number} [milliseconds] */
  async #sleep(milliseconds) {
    await new Promise((resolve) => {
      this.wake = resolve;
      if (milliseconds !== undefined) setTimeout(resolve, milliseconds);
    });
  }
}

function intervalFor(sessions) {
  if (sessions <= FEW.sessions) return FEW.interval;
  return sessions <= MANY.sessions ? MANY.interval : INTERVAL_OF_THOUSANDS;
}

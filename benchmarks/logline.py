"""Print what one event costs the thread that logs it: `python -m benchmarks.logline`.

The chain of processors, the rendering and the queue are the daemon's; the queue is emptied
between the rounds, so that no line is dropped and the writer's thread is not in the figure.
"""

from __future__ import annotations

import os
import statistics
import time

from echo.logs.eventlog import EventLog
from echo.logs.sinks import StreamSink
from echo.logs.writer import LogWriter

ROUNDS = 31
LINES = 5_000
FIELDS = {
    "session_id": "1f2e3d4c-17",
    "peer_ip": "127.0.0.1",
    "peer_port": 54321,
    "reason": "eof",
    "received_bytes": 512,
    "sent_bytes": 512,
    "duration_s": 0.01234,
}


def main() -> None:
    """Log `LINES` events in each of `ROUNDS` rounds, and print the median and the range."""
    null = os.open(os.devnull, os.O_WRONLY)
    log = EventLog(LogWriter(StreamSink(null)))
    logger = log.configure()
    costs = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        for _ in range(LINES):
            logger.info("session.closed", **FIELDS)
        costs.append((time.thread_time() - began) / LINES * 1e6)
        while log.queue_length:
            time.sleep(0.01)
    complete = log.close(10)
    print(  # noqa: T201 - its result
        f"{statistics.median(costs):.2f} µs a line ({min(costs):.2f} to {max(costs):.2f})"
        + ("" if complete else f", {log.dropped} lines dropped")
    )


if __name__ == "__main__":
    main()

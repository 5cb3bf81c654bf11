"""Count the instructions of one short session: `python -m benchmarks.instructions`.

CPU time differs by a quarter from run to run on a small machine. How many instructions a process
runs outside the kernel doesn't: valgrind counts them for a server, its log and a client in one
process, once with 100 sessions and once with 600, and the difference is 500 sessions, the client's
part included. `--python` names another checkout's interpreter, to compare with.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import subprocess
import sys
import threading

FEW, MANY = 100, 600


def main() -> None:
    """Count for both loops, or serve and be counted."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--python", default=sys.executable, help="the interpreter to count in")
    parser.add_argument("--loop", choices=["python", "compiled"], help=argparse.SUPPRESS)
    parser.add_argument("--sessions", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.sessions:
        serve(options.loop, options.sessions)
        return
    for loop in ("python", "compiled"):
        few, many = (counted(options.python, loop, sessions) for sessions in (FEW, MANY))
        print(f"{loop}: {(many - few) // (MANY - FEW):,} instructions a session")


def counted(python: str, loop: str, sessions: int) -> int:
    """Return how many instructions a run of so many sessions takes."""
    words = ["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", python]
    done = subprocess.run(
        ["valgrind", *words, __file__, "--loop", loop, "--sessions", str(sessions)],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    found = re.search(r"I +refs: +([\d,]+)", done.stderr)
    if found is None:
        raise ValueError(done.stderr)
    return int(found[1].replace(",", ""))


def serve(loop: str, sessions: int) -> None:
    """Serve this many sessions of one message, one after the other, with the daemon's log."""
    from echo import EchoHandler, EchoServer
    from echo.logs.eventlog import EventLog
    from echo.logs.sinks import StreamSink
    from echo.logs.writer import LogWriter

    handler = EchoHandler
    if loop == "compiled":
        from echo.server.compiled import CompiledHandler

        handler = CompiledHandler
    log = EventLog(LogWriter(StreamSink(os.open(os.devnull, os.O_WRONLY))))
    server = EchoServer(("127.0.0.1", 0), handler, log=log.configure())
    accepting = threading.Thread(target=server.serve_forever)
    accepting.start()
    for _ in range(sessions):
        with socket.create_connection(server.server_address) as client:
            client.send(bytes(16))
            client.shutdown(socket.SHUT_WR)
            while client.recv(100):
                pass
    server.drain(5)
    server.server_close()
    accepting.join(5)
    log.close(5)


if __name__ == "__main__":
    main()

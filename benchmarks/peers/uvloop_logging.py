"""The same as ``asyncio_logging.py`` on uvloop, libuv's event loop: two JSON lines a session."""

import sys

import uvloop
from asyncio_logging import LoggedEcho, configure_log  # type: ignore[import-not-found]
from asyncio_protocol import serve  # type: ignore[import-not-found]

if __name__ == "__main__":
    configure_log(sys.argv[2])
    uvloop.run(serve(int(sys.argv[1]), LoggedEcho))

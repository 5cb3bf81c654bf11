"""The same Protocol as ``asyncio_protocol.py`` on uvloop, libuv's event loop. No log."""

import sys

import uvloop
from asyncio_protocol import serve  # type: ignore[import-not-found]

if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))

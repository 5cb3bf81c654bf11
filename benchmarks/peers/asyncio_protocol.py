"""An event loop: asyncio with a Protocol, its fastest interface. No log."""

import asyncio
import sys
from typing import cast


class Echo(asyncio.Protocol):
    """Echo what comes; while the transport's buffer is full, read no more."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection (asyncio has turned Nagle's algorithm off)."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Send back what came."""
        self.transport.write(data)

    def pause_writing(self) -> None:
        """Hold the client up until it has read what it was sent."""
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on reading."""
        self.transport.resume_reading()


async def serve(port: int, protocol: type[asyncio.Protocol] = Echo) -> None:
    """Serve until the process is ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", port, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))

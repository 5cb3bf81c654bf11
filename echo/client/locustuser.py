"""The verified exchange as a Locust user, for more load than one machine makes.

A locustfile of one line is enough: ``from echo.client.locustuser import EchoUser``. Locust's
host is the server: ``locust --host 192.0.2.1:9000``. `ECHOD_SIZE` says how large the payloads
are, as `echod load --size` does. Needs the extra `locust`.
"""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING, ClassVar

from locust import User, constant

from echo.client.client import EchoClient
from echo.client.errors import EchoError
from echo.client.latency import NS_PER_MS
from echo.client.sizes import parse_sizes

if TYPE_CHECKING:
    from typing import Any


class EchoUser(User):  # type: ignore[misc] # locust comes without types
    """One session that exchanges payloads, one after the other, every byte verified.

    An exchange is reported as `echo`, a new connection as `connect`; what goes wrong is that
    request's failure, and ends the session: the next exchange connects anew. Subclass it to
    change `wait_time`, `size` or `timeout` (in seconds).
    """

    wait_time = constant(0)
    size = os.environ.get("ECHOD_SIZE", "512")
    timeout = 10.0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._sizes = parse_sizes(self.size)
        self._random = random.Random()
        self._client: EchoClient | None = None

    def echo(self) -> None:
        """Send a payload, and take it back."""
        if self._client is None and not self._connect():
            return
        assert self._client is not None
        data = self._random.randbytes(self._sizes.draw(self._random))
        began = time.perf_counter_ns()
        try:
            took = self._client.round_trip(data, self.timeout)
        except (EchoError, OSError) as error:
            self._report("echo", time.perf_counter_ns() - began, 0, error)
            self.on_stop()
        else:
            self._report("echo", took, len(data))

    tasks: ClassVar = [echo]

    def _connect(self) -> bool:
        host, _, port = (self.host or "127.0.0.1:9000").removeprefix("tcp://").rpartition(":")
        client = EchoClient(host.strip("[]"), int(port), timeout=self.timeout)
        began = time.perf_counter_ns()
        try:
            client.connect()
        except OSError as error:
            client.close()
            self._report("connect", time.perf_counter_ns() - began, 0, error)
            time.sleep(self.timeout / 100)  # a server that refuses is not asked without a pause
            return False
        self._client = client
        self._report("connect", time.perf_counter_ns() - began, 0)
        return True

    def on_stop(self) -> None:
        """Close the session."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _report(self, name: str, ns: int, size: int, error: Exception | None = None) -> None:
        self.environment.events.request.fire(
            request_type="tcp",
            name=name,
            response_time=ns / NS_PER_MS,
            response_length=size,
            exception=error,
            context=self.context(),
        )

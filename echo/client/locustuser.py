"""The verified exchange as a Locust user, for more load than one machine makes.

A locustfile of one line is enough: ``from echo.client.locustuser import EchoUser``. Locust's
host is the server: ``locust --host 192.0.2.1:9000``; ``http://`` and ``tcp://`` before it are
skipped, and the port is 9000 where none is given. `ECHOD_SIZE` sets the size of the payloads, as
`echod load --size` does. Needs the extra `locust`.
"""

from __future__ import annotations

import logging
import os
import random
import time
from typing import TYPE_CHECKING, ClassVar

from locust import User, constant, events

from echo.client.address import parse_port, split_address
from echo.client.client import EchoClient
from echo.client.errors import EchoError
from echo.client.latency import NS_PER_MS
from echo.client.sizes import parse_sizes

if TYPE_CHECKING:
    from typing import Any


class EchoUser(User):  # type: ignore[misc] # locust comes without types
    """One session: it exchanges payloads, one after the other, and verifies every byte.

    An exchange is reported as `echo`, a new connection as `connect`. A failure is that request's,
    and ends the session: the next exchange makes a new connection. Subclass it to change
    `wait_time`, `size` or `timeout` (in seconds).
    """

    wait_time = constant(0)
    size = os.environ.get("ECHOD_SIZE", "512")
    timeout = 10.0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._address = address_of(self.host)
        self._sizes = parse_sizes(self.size)
        self._random = random.Random()
        self._client: EchoClient | None = None

    def echo(self) -> None:
        """Send a payload, and verify its echo."""
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
        client = EchoClient(*self._address, timeout=self.timeout)
        began = time.perf_counter_ns()
        try:
            client.connect()
        except OSError as error:
            client.close()
            self._report("connect", time.perf_counter_ns() - began, 0, error)
            time.sleep(self.timeout / 100)  # pause, or a refusing server would be flooded
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


def address_of(host: str | None) -> tuple[str, int]:
    """Return host and port of what Locust was given as its host. Raises `ValueError`.

    >>> address_of(None), address_of("http://[::1]:7777/")
    (('127.0.0.1', 9000), ('::1', 7777))
    """
    name, port = split_address((host or "").removeprefix("http://"))
    number = parse_port(port) if port else 9000
    if not 1 <= number <= 65535:
        raise ValueError(f"must be from 1 to 65535, not {number}")
    return name or "127.0.0.1", number


@events.init.add_listener  # type: ignore[untyped-decorator]
@events.test_start.add_listener  # type: ignore[untyped-decorator]
def check_host(environment: Any, **_: object) -> None:
    """End the run with one line, before each user fails, where the host can't be meant.

    With a web page it is the test that ends, since the host can be changed there.
    """
    for kind in environment.user_classes:
        try:
            if issubclass(kind, EchoUser):
                address_of(environment.host or kind.host)
        except ValueError as error:
            text = f"can't use the host {environment.host or kind.host}: the port {error}"
            if environment.web_ui is None:
                raise SystemExit(text) from error
            logging.error(text)
            environment.runner.stop()
            return

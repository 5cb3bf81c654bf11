"""Fuzzing: hypothesis searches for a case that an echo server gets wrong, and shrinks it."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, Phase, find, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky, NoSuchExample

from echo.client.cases import Case, FailedCase
from echo.client.client import EchoClient
from echo.client.errors import EchoError
from echo.client.strategies import noise, payloads, short_payloads, splits
from echo.deadline import Deadline
from echo.errors import problem_of
from echo.limits import BEYOND_BUFFERS, KIB

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from hypothesis.strategies import DrawFn, SearchStrategy

# These sizes are always tried first, each with a half-close at once and without.
ALWAYS = (0, 1, 512, 4 * KIB, 4 * KIB + 1, 64 * KIB + 1, BEYOND_BUFFERS)
PAUSES_MS = (0, 0, 1, 20)
# A whole case may take this many times the deadline for progress, and besides as long as its
# payload takes on a slow line: 16 MiB in four minutes.
WHOLE = 10
SLOW_BYTES_PER_S = 64 * KIB
# Seconds after which shrinking ends, with the smallest case so far.
SHRINK_TIMEOUT = 60.0


@st.composite
def cases(draw: DrawFn, payload: SearchStrategy[bytes], half_close: bool) -> Case:
    """Strategy for cases that send such a payload."""
    pieces = draw(splits(payload))
    pause = st.sampled_from(PAUSES_MS)
    pauses = draw(st.lists(pause, min_size=len(pieces), max_size=len(pieces)))
    return Case(tuple(pieces), tuple(pauses), half_close and draw(st.booleans()))


class Fuzzer:
    """Searches one server for a case that it gets wrong.

    `deadline` is in seconds: a case fails after so long without progress; as a whole it may take
    ten times that, and a second more for each 64 KiB. `seed` makes a search repeatable, as far
    as the server is. Without `half_close` no case half-closes, for a server that is known to
    get that wrong. `examples` counts the cases that were tried.

    >>> from echo.testing import Faults, running_server
    >>> with running_server(faults=Faults(close_after=5)) as server:
    ...     finding = Fuzzer(*server.address, max_examples=20, max_size=100, seed=1).search()
    >>> len(finding.case.payload), finding.problem
    (6, 'the server ended the stream at offset 5, with 1 byte missing')
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        max_examples: int = 100,
        max_size: int = BEYOND_BUFFERS,
        seed: int = 0,
        deadline: float = 2.0,
        half_close: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.max_examples = max_examples
        self.max_size = max_size
        self.seed = seed
        self.deadline = deadline
        self.half_close = half_close
        self.tls = tls
        self.examples = 0
        self.finding: FailedCase | None = None
        self._patience = Deadline(None)
        self._gone = False
        self._last = Case((b"",), (0,), half_close=False)

    def __repr__(self) -> str:
        return f"<Fuzzer {self.host}:{self.port} {self.examples} examples, {self.finding}>"

    def search(self) -> FailedCase | None:
        """Search, and return the smallest case found; None where the server gets all right.

        Raises `OSError` where no connection can be made at the beginning. Where none can be
        made later, the case before it is the finding.
        """
        with self._client():
            pass
        any(self._fails(case) for case in self._always())
        # Short payloads come first: they find faults of certain bytes, and shrinking can't lead
        # from a long payload of noise to the one byte in it that matters.
        if not self._find(short_payloads(self.max_size)):
            bound = self.max_size if self.finding is None else len(self.finding.case.payload)
            self._find(payloads(bound))
        return self.finding

    def _always(self) -> Iterator[Case]:
        for size in ALWAYS:
            if size <= self.max_size:
                yield Case((noise(size),), (0,), half_close=False)
                if self.half_close:
                    yield Case((noise(size),), (0,), half_close=True)

    def _find(self, payload: SearchStrategy[bytes]) -> bool:
        """Search cases with such payloads, shrink a failing one; return whether one failed."""
        options = settings(
            max_examples=max(1, self.max_examples // 2),
            database=None,
            deadline=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        try:
            find(
                cases(payload, self.half_close),
                self._fails,
                settings=options,
                random=random.Random(self.seed),
            )
        except NoSuchExample:
            return False
        except Flaky:  # it failed once and not again: it stays the finding
            return True
        return True

    def _fails(self, case: Case) -> bool:
        if self._gone or self._patience.expired:
            return False
        self.examples += 1
        problem = self._problem(case)
        if problem is None:
            return False
        if self.finding is None:
            self._patience = Deadline(SHRINK_TIMEOUT)
        if self.finding is None or case.weight <= self.finding.case.weight:
            self.finding = FailedCase(case, problem)
        return True

    def _problem(self, case: Case) -> str | None:
        """Run a case, and return what the server does wrong; None for nothing."""
        client = self._client()
        try:
            client.connect()
        except OSError as error:
            self._lost(error)
            return None
        self._last = case
        try:
            self._play(client, case)
        except (EchoError, OSError) as error:
            return problem_of(error)
        finally:
            client.close()
        return None

    def _client(self) -> EchoClient:
        return EchoClient(self.host, self.port, timeout=self.deadline, tls=self.tls)

    def _lost(self, error: OSError) -> None:
        """Make the last case the finding: after it the server could not be reached."""
        self._gone = True
        self.finding = FailedCase(
            self._last, f"no connection could be made after it: {error.strerror or error}"
        )

    def _play(self, client: EchoClient, case: Case) -> None:
        client.limit(WHOLE * self.deadline + len(case.payload) / SLOW_BYTES_PER_S)
        for piece, pause_ms in zip(case.pieces, case.pauses_ms, strict=True):
            client.send(piece)
            time.sleep(pause_ms / 1000)
        if case.half_close:
            client.finish()
        else:
            client.receive(len(case.payload))
            client.check_silence()

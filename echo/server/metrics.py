"""The `/metrics` page: the server's state in the words of Prometheus, read when it is scraped."""

from __future__ import annotations

import platform
from enum import StrEnum
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from echo.events import Reason, Refusal
from echo.server.status import Answer
from echo.server.totals import DURATION_BOUNDS
from echo.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client.core import Metric

    from echo.server.server import EchoServer


class LogFigures(Protocol):
    """What the metrics want to know of the log."""

    @property
    def dropped(self) -> int:
        """Lines that were lost."""

    @property
    def problem(self) -> str | None:
        """Why it can't be written now, if it can't."""

    @property
    def queue_length(self) -> int:
        """Lines that wait to be written."""


class Metrics(Collector):
    """Reads `server` and `log` at each scrape; between two scrapes it costs nothing.

    `page` is for a `StatusServer`. Every label's values come from a closed list.
    """

    def __init__(self, server: EchoServer, log: LogFigures) -> None:
        self._server = server
        self._log = log
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def page(self, accept: str) -> Answer:
        """Write the metrics in the format that the scraper asks for, if that can be told."""
        try:
            encode, content_type = choose_encoder(accept)
        except TypeError:  # it compares a version that is no number with one that is
            encode, content_type = choose_encoder("")
        return Answer(encode(self._registry), content_type)

    def collect(self) -> Iterator[Metric]:
        """Read the state."""
        yield InfoMetricFamily(
            "echod_build",
            "What runs here.",
            {"version": VERSION, "python": platform.python_version()},
        )
        yield from self._sessions()
        yield from self._bytes()
        yield CounterMetricFamily(
            "echod_log_dropped", "Lines that the log could not take.", self._log.dropped
        )
        yield GaugeMetricFamily(
            "echod_log_failing",
            "1 while the log can't be written, and its lines wait.",
            float(self._log.problem is not None),
        )
        yield GaugeMetricFamily(
            "echod_log_queue_length", "Lines that wait for the log.", self._log.queue_length
        )

    def _sessions(self) -> Iterator[Metric]:
        slots, totals = self._server.slots, self._server.sessions.totals
        yield GaugeMetricFamily("echod_sessions_active", "Sessions now.", slots.active)
        yield GaugeMetricFamily(
            "echod_sessions_limit", "Sessions there may be at once.", slots.limit
        )
        yield CounterMetricFamily(
            "echod_sessions_accepted", "Sessions that began.", totals.accepted
        )
        yield _by_reason(
            "echod_sessions_refused",
            "Connections that did not become a session.",
            Refusal,
            self._server.refusals.by_key,
        )
        yield _by_reason("echod_sessions_closed", "Sessions that ended.", Reason, totals.reasons)
        yield self._durations()

    def _durations(self) -> Metric:
        totals = self._server.sessions.totals
        bounds = [*map(str, DURATION_BOUNDS), "+Inf"]
        buckets = list(zip(bounds, accumulate(totals.durations), strict=True))
        return HistogramMetricFamily(
            "echod_session_duration_seconds",
            "How long sessions lasted.",
            buckets,
            totals.duration_s,
        )

    def _bytes(self) -> Iterator[Metric]:
        totals = self._server.sessions.byte_totals()
        for direction, text in (("received", "came from clients"), ("sent", "went back")):
            name = f"{direction}_bytes"
            yield CounterMetricFamily(
                f"echod_{name}", f"Bytes of payload that {text}.", totals[name]
            )


def _by_reason(name: str, text: str, reasons: type[StrEnum], counts: Mapping[Any, int]) -> Metric:
    """Count by reason: those that have not happened yet are there, too, as 0."""
    family = CounterMetricFamily(name, text, labels=["reason"])
    for reason in reasons:
        family.add_metric([reason.value], counts.get(reason, 0))
    return family

"""The figures that are compared: their units, and which way is better."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One kind of figure."""

    name: str
    title: str
    scale: float = 1.0
    """What a stored figure is multiplied with to be shown."""
    digits: int = 0
    more_is_better: bool = False
    steady: bool = True
    """Whether it repeats well enough to say that a commit made it worse."""

    def shown(self, figure: float) -> str:
        """Return a stored figure as a reader wants it."""
        return f"{figure * self.scale:,.{self.digits}f}"


METRICS = {
    metric.name: metric
    for metric in (
        Metric("per_s", "per second", more_is_better=True),
        Metric("mb_per_s", "MB/s", more_is_better=True),
        Metric("p50_us", "p50, µs", steady=False),
        Metric("p99_us", "p99, µs", steady=False),
        Metric("p999_us", "p99.9, µs", steady=False),
        Metric("bytes_per_session", "KiB a session", 1 / 1024, 1),
        Metric("burst_s", "burst echoed, s", 1, 3, steady=False),
        Metric("close_s", "all closed, s", 1, 3, steady=False),
        Metric("idle_cpu", "idle CPU, % of a core", 100, 2, steady=False),
        Metric("startup_s", "first echo, ms", 1000, 1, steady=False),
    )
}

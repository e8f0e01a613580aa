"""The gateway's figures for Prometheus. No label names a terminal: a fleet would make a series of each."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

SYNC_BUCKETS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0)
"""Seconds: from a fast solid state disk to one that is about to fail."""


class Figures(Collector):
    """Reads plain numbers when somebody asks, so that counting costs the hot path nothing."""

    def __init__(self, read: Callable[[], Iterable[Metric]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        return self._read()


def sync_histogram(registry: CollectorRegistry) -> Histogram:
    """Make the histogram of how long the disk takes."""
    return Histogram(
        "northwatch_gateway_sync_seconds",
        "Time for the log to become durable",
        buckets=SYNC_BUCKETS,
        registry=registry,
    )


def counter(name: str, meaning: str, value: float) -> Metric:
    return CounterMetricFamily(f"northwatch_gateway_{name}", meaning, value=value)


def counters(name: str, meaning: str, label: str, values: dict[str, int]) -> Metric:
    family = CounterMetricFamily(f"northwatch_gateway_{name}", meaning, labels=[label])
    for key, value in list(values.items()):
        family.add_metric([key], value)
    return family


def gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(f"northwatch_gateway_{name}", meaning, value=value)

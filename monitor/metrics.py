"""One page of metrics for all processes of this machine, told apart by the label `process`.

Gateway, worker, keeper and events are read at their loopback endpoints; one that does not answer is missing,
and `northwatch_up` says so. No terminal appears in a label: a fleet would be ten thousand time series.
"""

import asyncio
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from monitor.health import fetch

if TYPE_CHECKING:
    from monitor.center import Center

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The monitor's own metrics, and how to put them beside the others'."""

    def __init__(self, center: "Center") -> None:
        self._center = center
        registry = CollectorRegistry()
        self.registry = registry
        self._requests = Counter("northwatch_requests", "Requests answered", ["status"], registry=registry)
        viewers = Gauge("northwatch_viewers", "Screens connected to the live picture", registry=registry)
        viewers.set_function(lambda: len(center.live.viewers))
        self._add_figures(registry)

    def _add_figures(self, registry: CollectorRegistry) -> None:
        figures = {
            "terminals": "Terminals known to the database",
            "online": "Terminals with an open link",
            "silent": "Terminals that should report and do not",
            "without_code": "Terminals of which only what they say without their code is heard",
            "alarms_on_desk": "Alarms that nobody has handled",
            "tickets_open": "Tickets that are not closed",
            "strangers": "Terminals in the lobby that have never authenticated, up to 10,000",
            "strangers_in_alarm": "Of these, who lately reported an alarm",
        }
        for name, meaning in figures.items():
            gauge = Gauge(f"northwatch_{name}", meaning, registry=registry)
            gauge.set_function(partial(self._figure, name))

    def answered(self, status: int) -> None:
        """Count a request by the status of its answer."""
        self._requests.labels(str(status)).inc()

    def _figure(self, name: str) -> float:
        return self._center.live.figures().get(name, 0)

    async def text(self) -> bytes:
        """Give everything in Prometheus's text format."""
        options = self._center.options
        urls = {
            "gateway": options.gateway_url,
            **{f"gateway{slot}": url for slot, url in enumerate(options.sibling_urls, 1)},
            "worker": options.worker_url,
            "keeper": options.keeper_url,
            "events": options.events_url,
        }
        texts = {"monitor": generate_latest(self.registry).decode()}
        asked = {process: url for process, url in urls.items() if url is not None}
        answers = await asyncio.gather(*(asyncio.to_thread(_scrape, url) for url in asked.values()))
        texts |= dict(zip(asked, answers, strict=True))
        together = CollectorRegistry()
        together.register(_Together(texts))
        return generate_latest(together)


def _scrape(url: str) -> str:
    """Give the metrics of a process, nothing when it does not answer."""
    try:
        return fetch(f"{url}/metrics").decode()
    except (OSError, UnicodeDecodeError):
        return ""


class _Together(Collector):
    """The metrics of all processes: one family each, however many processes have it."""

    def __init__(self, texts: dict[str, str]) -> None:
        self._texts = texts

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        up = families["northwatch_up"] = Metric("northwatch_up", "Whether the process answers", "gauge")
        for process, text in self._texts.items():
            try:
                read = list(_families(text))
            except ValueError:  # that process speaks no Prometheus; the others do
                read = []
            up.add_sample("northwatch_up", {"process": process}, 1.0 if read else 0.0)
            for family in read:
                into = families.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type, family.unit)
                )
                for sample in family.samples:
                    into.add_sample(sample.name, {**sample.labels, "process": process}, sample.value)
        return families.values()


def _families(text: str) -> Iterator[Metric]:
    for family in text_string_to_metric_families(text):
        if not family.name.endswith("_created"):
            yield family

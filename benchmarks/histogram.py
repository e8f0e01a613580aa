"""Latencies as log-linear histograms in the manner of HDR: three digits are true, and histograms add up."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

SHARES = (0.5, 0.9, 0.99, 0.999)


class Histogram:
    """How often each latency was seen, by the lower end of its class, in ns."""

    def __init__(self, counts: Mapping[int, int], slowest: int) -> None:
        self._counts = dict(sorted(counts.items()))
        self._total = sum(counts.values())
        self.slowest_ms = slowest / 1e6

    def __len__(self) -> int:
        return self._total

    def ms(self, share: float) -> float:
        """Give the latency below which this share of the answers came; 0 where there were none."""
        wanted, seen = share * self._total, 0
        for value, count in self._counts.items():
            seen += count
            if seen > wanted:
                return value / 1e6
        return self.slowest_ms

    def cells(self) -> list[str]:
        """Write p50, p90, p99, p99.9 and the slowest, in ms."""
        return [f"{value:.2f}" for value in (*map(self.ms, SHARES), self.slowest_ms)]

    def write(self, path: Path) -> None:
        """Keep all of it as HdrHistogram's percentile distribution, which its plotter reads."""
        path.parent.mkdir(parents=True, exist_ok=True)
        lines, seen = ["       Value     Percentile TotalCount 1/(1-Percentile)", ""], 0
        for value, count in self._counts.items():
            seen += count
            share = seen / self._total
            odds = f"{1 / (1 - share):15.2f}" if share < 1 else ""
            lines.append(f"{value / 1e6:12.3f} {share:14.12f} {seen:10d} {odds}".rstrip())
        lines.append(f"#[Max     = {self.slowest_ms:12.3f}, Total count    = {self._total:12d}]")
        path.write_text("\n".join(lines) + "\n")


HEAD = ["p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms"]
"""Of `Histogram.cells`."""


def merged(histograms: Iterable[Histogram]) -> Histogram:
    """Add histograms up."""
    counts, slowest = Counter[int](), 0.0
    for each in histograms:
        counts.update(each._counts)
        slowest = max(slowest, each.slowest_ms)
    return Histogram(counts, round(slowest * 1e6))

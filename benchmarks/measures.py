"""What a benchmark is asked for, and what it came to: the rows of the table at the end."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rounds import table


@dataclass(frozen=True, slots=True)
class Options:
    """How much of everything. None leaves it to the part."""

    long: bool = False
    """Take all the time it takes, instead of about twelve minutes for all parts together."""
    rounds: int | None = None
    seconds: float | None = None
    """Of one measured run."""
    connections: int | None = None
    rate: float | None = None
    """Of an open loop, in frames a second."""
    peers: tuple[str, ...] = ()
    """Other servers, as name=host:port."""
    histograms: Path = Path("build/histograms")
    """Where latencies are kept in full."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A row of the table at the end: what is measured, what is asked, and what came out."""

    name: str
    floor: Sequence[float]
    """The least that is asked; one value for each that is measured."""
    reach: Sequence[float]
    measured: Sequence[float]
    unit: str = ""
    at_most: bool = False
    """Less is better."""
    note: str = ""
    """What else has to hold, or why there is no figure."""

    @property
    def met(self) -> str:
        """`reach`, `floor` or `no`, for each value."""
        words = [self._word(*values) for values in zip(self.measured, self.floor, self.reach, strict=True)]
        return " · ".join(dict.fromkeys(words) if len(set(words)) == 1 else words)

    def _word(self, measured: float, floor: float, reach: float) -> str:
        if self._holds(measured, reach):
            return "reach"
        return "floor" if self._holds(measured, floor) else "no"

    def _holds(self, measured: float, asked: float) -> bool:
        return measured <= asked if self.at_most else measured >= asked

    def row(self) -> list[str]:
        """Give the cells of its row."""
        sign, unit = "≤ " if self.at_most else "", f" {self.unit}" if self.unit else ""
        asked = [sign + " · ".join(map(number, values)) + unit for values in (self.floor, self.reach)]
        measured = " · ".join(map(number, self.measured)) + unit
        return [self.name, *asked, f"{measured}{', ' if self.note else ''}{self.note}", self.met]


def number(value: float) -> str:
    """Write a value with the digits that mean something."""
    if abs(value) >= 20:
        return f"{value:,.0f}"
    return f"{value:.2f}".rstrip("0").rstrip(".")


def summary(measures: Iterable[Measure]) -> str:
    """Give the table of all rows."""
    return table(["measure", "floor", "reach", "measured", "met"], [measure.row() for measure in measures])

"""Trucks that report in virtual time, and the alarms that a database would then hold.

    truck = Fleet().truck()
    truck.at(0).reports("overspeed")
    truck.at(30).reports()
    assert truck.alarms == ["overspeed 0–30"]

An alarm reads as condition, object, begin–end in seconds, and then, where it applies, how often it was raised
or seen (×), `late`, and `history` for one that never reaches the desk.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from alerts.bits import EDITIONS, AlarmChange, AlarmSeen, Change, Judgement, Reports, judge
from alerts.state import AlarmState
from protocol.words import ALARMS

EPOCH_US = 1_760_000_000_000_000
SECOND = 1_000_000


@dataclass(frozen=True)
class Report:
    """One location report, times in seconds of the story."""

    terminal: int
    at: int
    received: int
    word: int
    edition: int = 1
    is_late: bool = False
    is_plausible: bool = True
    places: tuple[int, int, int] = (0, 0, 0)


def columns(frames: Iterable[Iterable[Report]]) -> Reports:
    """Put the reports of frames into columns."""
    rows = [(number, report) for number, frame in enumerate(frames) for report in frame]

    def column(values: Iterable[Any], kind: Any) -> Any:
        return np.array(list(values), kind)

    return Reports(
        terminal=column((r.terminal for _, r in rows), np.int64),
        frame=column((number for number, _ in rows), np.int64),
        reported_us=column((EPOCH_US + r.at * SECOND for _, r in rows), np.int64),
        received_us=column((EPOCH_US + r.received * SECOND for _, r in rows), np.int64),
        alarm_bits=column((r.word for _, r in rows), np.uint32),
        edition=column((r.edition for _, r in rows), np.uint8),
        is_late=column((r.is_late for _, r in rows), np.bool_),
        is_plausible=column((r.is_plausible for _, r in rows), np.bool_),
        overspeed_place=column((r.places[0] for _, r in rows), np.int64),
        crossed_place=column((r.places[1] for _, r in rows), np.int64),
        timed_section=column((r.places[2] for _, r in rows), np.int64),
    )


@dataclass
class Alarm:
    """A row of `alarms`."""

    terminal: int
    condition: str
    object: str
    began: int
    ended: int | None
    is_late: bool
    on_desk: bool
    reports: int = 1
    handled: bool = False

    def __str__(self) -> str:
        name = f"{self.condition} {self.object}".strip()
        end = "" if self.ended is None else str(self.ended)
        marks = [f"×{self.reports}"] if self.reports > 1 else []
        marks += ["late"] * self.is_late + ["history"] * (not self.on_desk)
        return " ".join([name, f"{self.began}–{end}", *marks])


def seconds(us: int) -> int:
    return (us - EPOCH_US) // SECOND


@dataclass
class Book:
    """The table `alarms` with its two unique indexes, written as `AlarmChange` and `AlarmSeen` say."""

    alarms: list[Alarm] = field(default_factory=list)

    def write(self, judgement: Judgement) -> None:
        for change in judgement.changes:
            self._change(change)
            self._check()
        for seen in judgement.seen:
            self._see(seen)

    def handle(self, alarm: Alarm, at: int) -> None:
        alarm.handled = True
        alarm.ended = at if alarm.ended is None else alarm.ended

    def _find(self, change: AlarmChange | AlarmSeen, began: int | None = None) -> Alarm | None:
        """The alarm of this key that began then, or else the open one."""
        for alarm in self.alarms:
            key = (alarm.terminal, alarm.condition, alarm.object)
            if key != (change.terminal, change.alarm.name, change.object):
                continue
            if alarm.began == began if began is not None else alarm.ended is None:
                return alarm
        return None

    def _change(self, change: AlarmChange) -> None:
        began = seconds(change.began_us)
        ended = None if change.ended_us is None else seconds(change.ended_us)
        same, is_open = self._find(change, began), self._find(change)
        if change.change is Change.ENDED:
            assert ended is not None
            if change.is_late:
                if same is not None and same.is_late and same.ended is not None:
                    same.ended = max(same.ended, ended)
            elif is_open is not None:
                is_open.ended = max(ended, is_open.began)
        elif ended is None and is_open is not None:
            is_open.reports += 1
        elif same is None:
            alarm = Alarm(
                change.terminal,
                change.alarm.name,
                change.object,
                began,
                ended,
                change.is_late,
                change.on_desk,
            )
            self.alarms.append(alarm)
        elif not change.is_late:
            same.ended, same.on_desk, same.reports = None, True, same.reports + 1

    def _see(self, seen: AlarmSeen) -> None:
        if seen.ended_us is None:
            alarm = self._find(seen)
            if alarm is not None:
                alarm.reports += seen.reports
            return
        alarm = self._find(seen, seconds(seen.began_us))
        if alarm is not None and alarm.is_late and alarm.ended is not None:
            alarm.ended = max(alarm.ended, seconds(seen.ended_us))

    def _check(self) -> None:
        starts = [(a.terminal, a.condition, a.object, a.began) for a in self.alarms]
        assert len(starts) == len(set(starts)), "one alarm per start"
        running = [(a.terminal, a.condition, a.object) for a in self.alarms if a.ended is None]
        assert len(running) == len(set(running)), "one open alarm per key"
        assert all(a.ended is None or a.ended >= a.began for a in self.alarms)


class Fleet:
    """Terminals whose reports are judged one frame at a time."""

    def __init__(self) -> None:
        self.state = AlarmState.empty()
        self.book = Book()
        self.changes: list[AlarmChange] = []
        self.now = 0

    def truck(self, edition: str = "2013") -> "Truck":
        self.state.grow(len(self.state) + 1)
        return Truck(self, len(self.state) - 1, [str(e) for e in EDITIONS].index(edition))

    def hear(self, *reports: Report) -> None:
        """Judge the reports of one frame."""
        judgement = judge(self.state, columns([reports]))
        self.changes += judgement.changes
        self.book.write(judgement)


@dataclass
class Truck:
    """One terminal of a fleet."""

    fleet: Fleet
    terminal: int
    edition: int

    def at(self, at: int) -> "Truck":
        """Move on to a time, in seconds."""
        self.fleet.now = at
        return self

    def reports(self, *conditions: str, at: int | None = None, **more: Any) -> "Truck":
        """Send a live report with these conditions."""
        self.fleet.hear(self._report(at, conditions, more))
        return self

    def sends_late(self, *points: tuple[Any, ...]) -> "Truck":
        """Send stored reports in one frame: each is a time and the conditions at that time."""
        late = [self._report(at, conditions, {"is_late": True}) for at, *conditions in points]
        self.fleet.hear(*late)
        return self

    def is_now(self, edition: str) -> "Truck":
        self.edition = [str(e) for e in EDITIONS].index(edition)
        return self

    def handles(self, condition: str) -> "Truck":
        """The operator handles what is on the desk about this truck."""
        for alarm in self.fleet.book.alarms:
            if alarm.condition == condition and not alarm.handled:
                self.fleet.book.handle(alarm, self.fleet.now)
        return self

    @property
    def alarms(self) -> list[str]:
        return [str(alarm) for alarm in self.fleet.book.alarms if alarm.terminal == self.terminal]

    def _report(self, at: int | None, conditions: Iterable[str], more: dict[str, Any]) -> Report:
        bits = {alarm.name: bit for bit, alarm in ALARMS[EDITIONS[self.edition]].items()}
        word = sum(1 << bits[name] for name in conditions)
        now = self.fleet.now
        plain = Report(self.terminal, now if at is None else at, now, word, self.edition)
        return replace(plain, **more)

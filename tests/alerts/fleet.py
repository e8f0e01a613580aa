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
from protocol.words import ALARMS, Ends

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
    """A row of `alarms`, times in µs."""

    terminal: int
    condition: str
    object: str
    began_us: int
    ended_us: int | None
    is_late: bool
    on_desk: bool
    ends: Ends = Ends.BY_TERMINAL
    reports: int = 0
    handled: bool = False
    history: list[tuple[int, str]] = field(default_factory=list)
    """The rows of `alarm_changes`: receipt and change."""

    def __str__(self) -> str:
        name = f"{self.condition} {self.object}".strip()
        end = "" if self.ended_us is None else str(seconds(self.ended_us))
        marks = [f"×{self.reports}"] if self.reports > 1 else []
        marks += ["late"] * self.is_late + ["history"] * (not self.on_desk)
        return " ".join([name, f"{seconds(self.began_us)}–{end}", *marks])


def seconds(us: int) -> int:
    return (us - EPOCH_US) // SECOND


@dataclass
class Book:
    """The table `alarms` with its two unique indexes, written as `AlarmChange` and `AlarmSeen` say."""

    alarms: list[Alarm] = field(default_factory=list)

    def write(self, judgement: Judgement) -> None:
        for change in judgement.changes:
            if change.change is Change.ENDED:
                self._end(change)
            else:
                self._raise(change)
            self._check()
        for seen in judgement.seen:
            self._see(seen)

    def sorted(self) -> list[Alarm]:
        """The alarms by terminal, each terminal's in the order in which they came."""
        return sorted(self.alarms, key=lambda alarm: alarm.terminal)

    def handle(self, alarm: Alarm, at: int) -> None:
        alarm.handled = True
        if alarm.ended_us is None and alarm.ends is Ends.BY_OPERATOR:
            alarm.ended_us = max(EPOCH_US + at * SECOND, alarm.began_us)

    def _of_key(self, change: AlarmChange | AlarmSeen) -> list[Alarm]:
        key = (change.terminal, change.alarm.name, change.object)
        return [alarm for alarm in self.alarms if (alarm.terminal, alarm.condition, alarm.object) == key]

    def _open(self, change: AlarmChange | AlarmSeen) -> Alarm | None:
        return next((alarm for alarm in self._of_key(change) if alarm.ended_us is None), None)

    def _same(self, change: AlarmChange | AlarmSeen) -> Alarm | None:
        return next((alarm for alarm in self._of_key(change) if alarm.began_us == change.began_us), None)

    def _back(self, change: AlarmChange) -> Alarm | None:
        """The alarm that came back, unless it was handled."""
        since_us = change.since_us
        if since_us is None:
            return None
        live = [each for each in self._of_key(change) if not each.is_late and each.began_us >= since_us]
        newest = max(live, key=lambda each: each.began_us, default=None)
        return None if newest is None or newest.handled else newest

    def _raise(self, change: AlarmChange) -> None:
        is_open, same = self._open(change), self._same(change)
        if is_open is not None and change.ended_us is None:
            self._count(is_open, change, "raised_again")
        elif not change.is_late and (goes_on := self._back(change) or same):
            is_known_to_go_on = change.since_us is not None or goes_on.is_late
            assert is_known_to_go_on, "a live alarm begins where no live one began"
            goes_on.ended_us, goes_on.is_late, goes_on.on_desk = None, False, True
            self._count(goes_on, change, "raised_again")
        elif same is None:
            alarm = Alarm(
                change.terminal,
                change.alarm.name,
                change.object,
                change.began_us,
                change.ended_us,
                change.is_late,
                change.on_desk,
                change.alarm.ends,
            )
            self.alarms.append(alarm)
            self._count(alarm, change, "raised")

    def _count(self, alarm: Alarm, change: AlarmChange, what: str) -> None:
        alarm.reports += 1 + len(change.again_us)
        alarm.history.append((change.received_us, what))
        alarm.history += [(at_us, "raised_again") for at_us in change.again_us]
        alarm.history += [(at_us, "ended") for at_us in change.gone_us]

    def _end(self, change: AlarmChange) -> None:
        assert change.ended_us is not None
        alarm = self._same(change) if change.is_late else self._open(change)
        if change.is_late:
            if alarm is not None and alarm.is_late and alarm.ended_us is not None:
                alarm.ended_us = max(alarm.ended_us, change.ended_us)
        elif alarm is not None:
            alarm.ended_us = max(change.ended_us, alarm.began_us)
            alarm.history.append((change.received_us, "ended"))

    def _see(self, seen: AlarmSeen) -> None:
        alarm = self._open(seen) if seen.ended_us is None else self._same(seen)
        if alarm is None or (seen.ended_us is not None and not alarm.is_late):
            return
        alarm.reports += seen.reports
        if seen.ended_us is not None and alarm.ended_us is not None:
            alarm.ended_us = max(alarm.ended_us, seen.ended_us)

    def _check(self) -> None:
        starts = [(a.terminal, a.condition, a.object, a.began_us) for a in self.alarms]
        assert len(starts) == len(set(starts)), "one alarm per start"
        running = [(a.terminal, a.condition, a.object) for a in self.alarms if a.ended_us is None]
        assert len(running) == len(set(running)), "one open alarm per key"
        assert all(a.ended_us is None or a.ended_us >= a.began_us for a in self.alarms)


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

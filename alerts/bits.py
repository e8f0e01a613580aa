"""From alarm words to alarms: when a condition begins, when it ends, and what late data adds.

One condition is one alarm, whatever the number of reports that carry its bit. The bits of a report are read
by the edition of its terminal (`protocol.words`).

Live reports, in order of arrival:

* 0 → 1 raises the alarm. The database knows whether one is open under the same key (terminal, condition,
  object); then it is raised again: the count grows, no second alarm opens.
* 1 → 0 ends it, if it is one that the terminal ends (标志维持至报警条件解除). One that the terminal clears on
  any answer (收到应答后清零) says nothing by clearing; an operator ends it. A terminal that keeps repeating
  such a bit is `seen`; after a silence of `REPEAT_US` it is raised again.
* The item's area, route or section changes while the bit stays: the old alarm ends, the new one is raised.
* One that the terminal ended and that comes back within `FLAP_US` of receipt is the same alarm, which goes
  on and counts: a chattering wire is one alarm. Where it was handled meanwhile, it is another one.

A report whose clock is implausible is live, timed by its arrival: it came over the link just now, so its bits
are what the terminal says now, and only its clock is in doubt. A terminal whose clock is broken for weeks
must be able to raise an emergency and to end an overspeed.

Late reports never open, close or reopen a live alarm. They form **runs**: a run goes on while its times do
not go back, leave no hole above `LATE_HOLE_US`, and no live report is known to lie between. A bit that rises
within a run is an alarm of its own with its true begin, unless it is known already: it lies within the live
alarm of the same bit, continues it without a report in between, or is a second copy of an episode that late
data had already revealed. Such an alarm is **closed from its start** (`ended_us` is the newest time it was
seen, and grows), so that it can never stand in the way of a live one; it goes to the history. Only
emergency-class conditions (severity 1) reach the desk, and of these the ones that an operator ends stay open.

A terminal that changes its alarms more than `MAX_CHANGES` times in a minute of receipt is not read until
the next one, and `Judgement.unread` names the reports. Then what it says is compared with what it said when
it was last read; and what an operator has to end is raised though it came and went in between.

Nor is one read further that has had its own `OWN_CHANGES`, once all terminals together have made
`SHARED_CHANGES` beyond theirs in that minute. Which are the last that are read follows from the order of
arrival, so the terminals of a batch are read together and not one after the other.

A terminal that names more than `MAX_PLACES` other places for a condition in a minute names none after that:
the alarm that stands goes on, and a new one is about no place.

Within a batch, what came back is folded into the change that raised it, so that a flapping alarm is at most
three changes, however often it flaps.

Calling sequence, for every batch of the log, in its order:

    judgement = judge(state, reports)        # changes `state` in place
    for change in judgement.changes: …       # see `AlarmChange` for what to do with each
    for seen in judgement.seen: …            # then one UPDATE each, see `AlarmSeen`

The result does not depend on where the log is cut into batches, as long as the reports of one frame stay
together.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from alerts.objects import object_name
from alerts.state import I64, NEVER, U8, U32, AlarmState, Episode, episode_key
from protocol.edition import Edition
from protocol.words import ALARMS, AlarmBit, Ends, Severity

Flags: TypeAlias = npt.NDArray[np.bool_]
Key: TypeAlias = tuple[int, str, str]

EDITIONS: Final = tuple(Edition)
"""A report's edition as a number is the place of its edition here."""

LATE_HOLE_US: Final = 30 * 60 * 1_000_000
"""A longer hole in late data starts a new run: nobody knows what happened in it. Half an hour is the longest
usual reporting interval of a parked vehicle, so that its backfill does not fall into runs of one report."""

REPEAT_US: Final = 10 * 60 * 1_000_000
"""A bit that any answer clears, seen again after a longer time without a live report, was set again: the
terminal has had its answer. While the alarm is open it only counts; once it was handled, nobody would hear of
the second press."""

FLAP_US: Final = 60 * 1_000_000
"""What comes back so soon was not over: two reports of a moving vehicle lie 30 s apart. By receipt, because
the terminal's own clock could be made to jump."""

MINUTE_US: Final = 60 * 1_000_000

MAX_CHANGES: Final = 512
"""A terminal that reports each second and has four wires that chatter changes half as much; one that brings
the stored reports of a day may have 256 alarms in them."""

OWN_CHANGES: Final = 16
"""So many changes a minute every terminal has for itself, whatever others do. A power cut that strikes a
whole fleet raises two alarms of each and ends them: four. An hour of stored reports has a few alarms in it,
and here is room for eight."""

SHARED_CHANGES: Final = 6_000
"""So many changes beyond their own all terminals make in a minute of receipt together. More than a hundred
vehicles with a wire that chatters each second find room; who registers identities by the hundred, and lets
each change all that it may, would make everybody wait for half a minute of every one."""

MAX_PLACES: Final = 16
"""No vehicle comes to another place every four seconds; who invents places would fill the desk with them. Of
live reports only: those stored over a day may name as many in a minute of receipt, and wait for nobody."""

OVERSPEED, AREA, ROUTE, SECTION = 1, 20, 21, 22
"""The bits whose alarms are about a place."""

_DEFINED: Final = np.array([sum(1 << bit for bit in ALARMS[edition]) for edition in EDITIONS], np.uint32)
_BY_OPERATOR: Final = [
    sum(1 << bit for bit, alarm in ALARMS[edition].items() if alarm.ends is Ends.BY_OPERATOR)
    for edition in EDITIONS
]
_BY_OPERATOR_WORDS: Final = np.array(_BY_OPERATOR, np.uint32)
_WITH_PLACE: Final = sum(1 << bit for bit in (OVERSPEED, AREA, ROUTE, SECTION))


@dataclass(frozen=True, slots=True)
class Reports:
    """The location reports of one batch, one element per report, in any order. By terminal, frame and time is
    the cheapest."""

    terminal: I64
    """Dense index of the terminal."""
    frame: I64
    """Number of the frame that carried the report; frames are numbered in order of arrival. Reports of one
    frame (0x0704) are taken in device-time order."""
    reported_us: I64
    received_us: I64
    alarm_bits: U32
    edition: U8
    """Place in `EDITIONS`."""
    is_late: Flags
    """From 0x0704 type 1, or plausible and older than the newest plausible time of the same terminal."""
    is_plausible: Flags
    """`reported_us` is a time, and a believable one."""
    overspeed_place: I64 | None = None
    """Codes of `alerts.objects`, where the batch has such items at all."""
    crossed_place: I64 | None = None
    timed_section: I64 | None = None

    def __len__(self) -> int:
        return len(self.terminal)

    @property
    def at_us(self) -> I64:
        """When each was made, as far as that is believed."""
        return np.where(self.is_plausible, self.reported_us, self.received_us)

    def take(self, rows: I64) -> "Reports":
        """Give some of the reports."""
        columns = {each.name: getattr(self, each.name) for each in fields(self)}
        return replace(self, **{name: some[rows] for name, some in columns.items() if some is not None})


class Change(StrEnum):
    """What became of an alarm."""

    RAISED = "raised"
    ENDED = "ended"


@dataclass(slots=True)
class AlarmChange:
    """An alarm begins or ends.

    What the database does, by (change, late):

    * RAISED, live: insert an open alarm. Where one is open under the key, raise that again (count,
      `last_seen_at`). Where a late one exists with the same key and start, that one goes on: clear its end,
      put it on the desk, raise it again. With `since_us` it came back: the newest live one of the key that
      began then or later goes on, unless it was handled.
    * ENDED, live: end the open alarm of the key.
    * RAISED, late, `ended_us` None (an emergency that waits for an operator): as live, except that one with
      the same key and start is a copy: then nothing.
    * RAISED, late, with `ended_us`: insert it as ended, whatever is open under the key. Same key and start,
      or a start while a live one of the key held that the terminal ended: nothing, it is a copy.
    * ENDED, late: move the end of the alarm with this key and start forward, if it is a late one and has an
      end.
    """

    change: Change
    terminal: int
    alarm: AlarmBit
    """The condition with its name, severity and way to end."""
    edition: Edition
    object: str
    began_us: int
    """Device time of the first report with it; on ENDED the start of the alarm that ends."""
    ended_us: int | None
    seen_us: int
    """Device time of the newest report with it."""
    received_us: int
    is_late: bool
    on_desk: bool
    row: int
    """Which of the batch's reports decided: for its position."""
    since_us: int | None = None
    """It came back so soon that it is the alarm that began then, or a later one."""
    again_us: list[int] = field(default_factory=list)
    """Receipt of the reports that raised it again within the batch."""
    gone_us: list[int] = field(default_factory=list)
    """Receipt of those that ended it in between; none where the operator ends it."""


@dataclass(slots=True)
class AlarmSeen:
    """Reports repeated an alarm that an operator has to end, or continued one that late data revealed.

    `ended_us` None: the open alarm of the key, if there is one, counts `reports` more and was last seen at
    `seen_us`. Otherwise the late alarm that began at `began_us` goes on until `ended_us`, unless that is
    earlier than its end.
    """

    terminal: int
    alarm: AlarmBit
    object: str
    began_us: int
    ended_us: int | None
    seen_us: int
    reports: int = 0
    """How many more the alarm counts: none for a late one, which a second copy must not change."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a batch means for the alarms, in order of arrival."""

    changes: list[AlarmChange]
    seen: list[AlarmSeen]
    unread: list[int] = field(default_factory=list)
    """Reports that were not followed, because alarms changed too much, by row of the batch."""


def judge(state: AlarmState, reports: Reports) -> Judgement:
    """Read the alarm words of a batch, and move `state` on.

    Columns find the terminals of which anything can change, and of these the few reports that can change it;
    only those meet the rules below, one by one.
    """
    rows = _order(reports)
    if rows is not None:
        reports = reports.take(rows)
    rows = np.arange(len(reports)) if rows is None else rows
    stirred = _stirred(state, reports)
    if not len(stirred):
        return Judgement([], [])
    rows = rows[stirred]
    columns, found = _Columns(state, reports.take(stirred), rows), _Found()
    read = dict[int, _Terminal]()
    for report in columns.found():
        terminal = read.get(report.terminal)
        if terminal is None:
            terminal = read[report.terminal] = _Terminal(state, report, found)
        terminal.take(report)
    columns.leave()
    for terminal in read.values():
        terminal.leave()
    state.remember(found.known)
    return Judgement([each for each in found.changes if each], list(found.seen.values()), found.unread)


@dataclass(frozen=True, slots=True)
class _Found:
    """What the rules have found so far in this batch."""

    changes: list[AlarmChange | None] = field(default_factory=list)
    """In order; None in the place of one that was folded into another."""
    seen: dict[tuple[int, int, str, int, bool], AlarmSeen] = field(default_factory=dict)
    known: dict[int, Episode] = field(default_factory=dict)
    """Episodes that were looked at, by key, as they are now."""
    unread: list[int] = field(default_factory=list)
    raised: dict[Key, AlarmChange] = field(default_factory=dict)
    """The newest live one of each key, as long as nothing late came between."""
    ended: dict[Key, int] = field(default_factory=dict)
    """Where among the changes is the end of each of these."""

    def add(self, change: AlarmChange) -> None:
        """Add a change, or fold it into one before that it continues."""
        key = change.terminal, change.alarm.name, change.object
        if change.is_late:
            self.raised.pop(key, None)
        elif change.change is Change.ENDED:
            self.ended[key] = len(self.changes)
        elif self._fold(key, change):
            return
        else:
            self.raised[key] = change
            self.ended.pop(key, None)
        self.changes.append(change)

    def _fold(self, key: Key, change: AlarmChange) -> bool:
        """Count what is raised in the change that raised it before, unless another alarm began."""
        before = self.raised.get(key)
        if before is None:
            return False
        at = self.ended.get(key)
        over = None if at is None else self.changes[at]
        if over is not None:
            if change.since_us is None:
                return False
            before.gone_us.append(over.received_us)
            self.changes[self.ended.pop(key)] = None
        before.again_us.append(change.received_us)
        before.seen_us = max(before.seen_us, change.seen_us)
        return True


@dataclass(frozen=True, slots=True)
class _Report:
    """One report that may matter, with what its terminal had said live when it arrived."""

    row: int
    terminal: int
    at_us: int
    received_us: int
    word: int
    edition: int
    is_late: bool
    live: int
    live_us: int
    live_edition: int
    places: tuple[int, int, int]

    def place(self, bit: int) -> int:
        if bit == OVERSPEED:
            return self.places[0]
        if bit in (AREA, ROUTE):
            return self.places[1]
        return self.places[2] if bit == SECTION else 0


def _stirred(state: AlarmState, reports: Reports) -> I64:
    """Give the reports, which are in order, of all terminals but the calm ones: what these say is live, and
    what they said before. Of them the state learns the time here.
    """
    if not len(reports):
        return np.zeros(0, np.int64)
    terminal, edition = reports.terminal, reports.edition
    word = reports.alarm_bits & _DEFINED[edition]
    begins = (terminal[1:] != terminal[:-1]).nonzero()[0]
    first, last = np.append(0, begins + 1), np.append(begins, len(terminal) - 1)
    whose = terminal[first]
    stirs = reports.is_late.copy()
    stirs[1:] |= (word[1:] != word[:-1]) | (edition[1:] != edition[:-1])
    stirs[first] = reports.is_late[first] | (word[first] != state.live[whose])
    stirs[first] |= (edition[first] != state.edition[whose]) | _are_behind(state, whose)
    _mark_repeats(stirs, word, reports)
    is_stirred = (state.late_us[whose] != NEVER) & (state.fence_us[whose] == NEVER)
    is_stirred[np.searchsorted(first, stirs.nonzero()[0], "right") - 1] = True
    calm = ~is_stirred
    state.live_us[whose[calm]] = reports.at_us[last[calm]]
    return np.repeat(is_stirred, last - first + 1).nonzero()[0]


def _are_behind(state: AlarmState, terminals: I64) -> Flags:
    """Say of which terminals reports may have been left unread."""
    behind: Flags = (state.changes[terminals] >= OWN_CHANGES) | (state.missed[terminals] != 0)
    return behind


def _mark_repeats(stirs: Flags, word: U32, reports: Reports) -> None:
    """Mark reports that matter although they repeat the word before."""
    rows = word.nonzero()[0]
    if not len(rows):
        return
    said = word[rows]
    repeats = (said & _BY_OPERATOR_WORDS[reports.edition[rows]]) != 0
    for places in (reports.overspeed_place, reports.crossed_place, reports.timed_section):
        if places is not None:
            repeats |= ((said & np.uint32(_WITH_PLACE)) != 0) & (places[rows] != 0)
    stirs[rows[repeats]] = True


class _Columns:
    """The reports of stirred terminals, in order, with the live word before every report."""

    def __init__(self, state: AlarmState, reports: Reports, rows: I64) -> None:
        self.state = state
        self.reports = reports
        self.rows = rows
        """Where each stands in the batch."""
        self.at_us = reports.at_us
        self.terminal = reports.terminal
        self.edition = reports.edition
        self.word = reports.alarm_bits & _DEFINED[self.edition]
        self.is_late = reports.is_late
        starts = np.flatnonzero(np.diff(self.terminal, prepend=-1))
        self.starts = starts
        self.group = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(rows)))
        self.places = [
            np.zeros(len(rows), np.int64) if column is None else column
            for column in (reports.overspeed_place, reports.crossed_place, reports.timed_section)
        ]
        self._look_back()
        self.matters = self._find()

    def _look_back(self) -> None:
        """Find, for every report, the live report of its terminal that came before it, in the batch or the
        state."""
        index = np.arange(len(self.rows))
        self.newest_live = np.maximum.accumulate(np.where(self.is_late, -1, index))
        before = np.concatenate([[-1], self.newest_live[:-1]])
        in_batch = before >= self.starts[self.group]
        state, terminal = self.state, self.terminal
        self.live = np.where(in_batch, self.word[before], state.live[terminal])
        self.live_us = np.where(in_batch, self.at_us[before], state.live_us[terminal])
        self.live_edition = np.where(in_batch, self.edition[before], state.edition[terminal])

    def _find(self) -> Flags:
        """Mark the reports that the rules must see."""
        has_place = (self.places[0] | self.places[1] | self.places[2]) != 0
        repeats = (self.word & _BY_OPERATOR_WORDS[self.edition]) != 0
        repeats |= has_place & ((self.word & np.uint32(_WITH_PLACE)) != 0)
        differs = (self.word != self.live) | ((self.edition != self.live_edition) & (self.live != 0))
        has_late = np.logical_or.reduceat(self.is_late, self.starts)
        has_run = np.logical_or.reduceat(self.is_late & (self.word != 0), self.starts)
        has_run |= has_late & (self.state.late[self.terminal[self.starts]] != 0)
        matters: Flags = has_run[self.group] | (~self.is_late & (differs | repeats))
        # Of terminals that may change too much all reports matter: which are the last that are read?
        matters |= (self._may_change_too_much(matters) | self._are_behind())[self.group]
        return matters

    def _are_behind(self) -> Flags:
        return _are_behind(self.state, self.terminal[self.starts])

    def _may_change_too_much(self, matters: Flags) -> Flags:
        """Say of which terminals the reports that matter may be more than are read."""
        state, terminal = self.state, self.terminal[self.starts]
        # What is set ends what stood and begins itself; what stood of late data began with a late report.
        stood = np.where(self.is_late, self.word, self.live)
        most = np.where(matters, np.bitwise_count(self.word) + np.bitwise_count(stood), 0)
        upto = np.add.reduceat(most, self.starts, dtype=np.int64) + state.changes[terminal]
        upto += np.bitwise_count(state.told[terminal]) + np.bitwise_count(state.missed[terminal])
        minute, used = state.shared.tolist()
        is_same_minute = bool((self.reports.received_us // MINUTE_US == minute).any())
        shared = int(np.maximum(upto - OWN_CHANGES, 0).sum()) + used * is_same_minute
        too_much: Flags = upto > (OWN_CHANGES if shared > SHARED_CHANGES else MAX_CHANGES)
        return too_much

    def found(self) -> Iterator[_Report]:
        """Give the reports that the rules must see, in order of arrival."""
        rows = self.matters.nonzero()[0]
        rows = rows[np.argsort(self.reports.frame[rows], kind="stable")]

        def told(*columns: npt.NDArray[Any]) -> list[list[Any]]:
            return [column[rows].tolist() for column in columns]

        yield from map(
            _Report,
            *told(self.rows, self.terminal, self.at_us, self.reports.received_us, self.word, self.edition),
            *told(self.is_late, self.live, self.live_us, self.live_edition),
            zip(*told(*self.places), strict=True),
        )

    def leave(self) -> None:
        """Write the newest live and late report of every terminal into the state."""
        state, ends = self.state, np.append(self.starts[1:], len(self.rows)) - 1
        newest = self.newest_live[ends]
        newest = newest[newest >= self.starts]
        terminal = self.terminal[newest]
        state.live[terminal] = self.word[newest]
        state.live_us[terminal] = self.at_us[newest]
        state.edition[terminal] = self.edition[newest]
        self._leave_late()

    def _leave_late(self) -> None:
        """Write how far the late data of every terminal came, and the first live report beyond."""
        state, index = self.state, np.arange(len(self.rows))
        terminal = self.terminal[self.starts]
        newest = np.maximum.reduceat(np.where(self.is_late, index, -1), self.starts)
        is_new = newest >= 0
        late_us = np.where(is_new, self.at_us[newest], state.late_us[terminal])
        fence_us = np.where(self.live_us[newest] > late_us, self.live_us[newest], NEVER)
        fence_us = np.where(is_new, fence_us, state.fence_us[terminal])
        is_beyond = ~self.is_late & (index > newest[self.group]) & (self.at_us > late_us[self.group])
        first = np.minimum.reduceat(np.where(is_beyond, index, len(index)), self.starts)
        is_found = (fence_us == NEVER) & (late_us != NEVER) & (first < len(index))
        fence_us[is_found] = self.at_us[first[is_found]]
        state.late_us[terminal], state.fence_us[terminal] = late_us, fence_us
        state.late_edition[terminal[is_new]] = self.edition[newest[is_new]]


def _order(reports: Reports) -> I64 | None:
    """Order reports by terminal, those of a terminal by frame, and those of a frame by their time; None where
    they stand so.

    Few frames have several reports, and only these need their times compared.
    """
    keys = reports.terminal << 32 | reports.frame
    is_ordered = not (keys[1:] < keys[:-1]).any()
    order = np.arange(len(keys)) if is_ordered else np.argsort(keys)
    keys = keys if is_ordered else keys[order]
    same = (keys[1:] == keys[:-1]).nonzero()[0]
    if len(same):
        places = np.union1d(same, same + 1)
        several = order[places]
        by_time = several[np.lexsort((several, reports.take(several).at_us, keys[places]))]
        is_ordered = is_ordered and bool((by_time == several).all())
        order[places] = by_time
    return None if is_ordered else order


class _Terminal:
    """The rules for one terminal: takes its reports one after the other."""

    def __init__(self, state: AlarmState, report: _Report, found: _Found) -> None:
        terminal = report.terminal
        self.state = state
        self.terminal = terminal
        self.found = found
        self.report = report
        self.late = int(state.late[terminal])
        self.told = int(state.told[terminal])
        self.late_us = int(state.late_us[terminal])
        self.late_edition = int(state.late_edition[terminal])
        self.fence_us = int(state.fence_us[terminal])
        self.minute = int(state.minute[terminal])
        self.changes = int(state.changes[terminal])
        self.missed = int(state.missed[terminal])
        self.live: tuple[int, int, int] | None = None
        """Word, time and edition of the newest live report that was read, once others were not."""

    def leave(self) -> None:
        """Write into the state what `_Columns` did not: the words of the run of late data and the changes;
        and everything, where not everything was read."""
        state, terminal = self.state, self.terminal
        state.late[terminal], state.told[terminal] = self.late, self.told
        state.minute[terminal], state.changes[terminal] = self.minute, self.changes
        state.missed[terminal] = self.missed
        if self.live is not None:
            state.live[terminal], state.live_us[terminal], state.edition[terminal] = self.live
            state.late_us[terminal], state.late_edition[terminal] = self.late_us, self.late_edition
            state.fence_us[terminal] = self.fence_us

    def take(self, report: _Report) -> None:
        """Read one report, unless its terminal has changed too much, or all have together."""
        minute = report.received_us // MINUTE_US
        if minute != self.minute:
            self.minute, self.changes = minute, 0
        if self.changes >= MAX_CHANGES or (self.changes >= OWN_CHANGES and self._is_shared_up()):
            self._leave_unread(report)
            return
        if self.live is not None:
            live, live_us, live_edition = self.live
            report = replace(report, live=live, live_us=live_us, live_edition=live_edition)
        if report.is_late:
            self.report = report
            self._read_late()
            return
        if self.live is not None:
            self.live = report.word, report.at_us, report.edition
        if self.missed:
            report = replace(report, word=report.word | self.missed & int(_DEFINED[report.edition]))
            self.missed = 0
        self.report = report
        self._read_live()

    def _is_shared_up(self) -> bool:
        """Nothing is left in this minute of what all terminals share."""
        minute, used = self.state.shared
        return bool(minute == self.minute and used >= SHARED_CHANGES)

    def _count(self) -> None:
        """Count a change: first of the terminal's own, then of what all share."""
        self.changes += 1
        if self.changes > OWN_CHANGES:
            shared = self.state.shared
            shared[:] = self.minute, (shared[1] if shared[0] == self.minute else 0) + 1

    def _leave_unread(self, report: _Report) -> None:
        """Pass over a report. The columns know no better than that it was read."""
        if self.live is None:
            self.live = report.live, report.live_us, report.live_edition
        if not report.is_late:
            self.missed |= report.word & _BY_OPERATOR[report.edition]
        self.found.unread.append(report.row)

    def _read_live(self) -> None:
        report = self.report
        if self.fence_us == NEVER and report.at_us > self.late_us:
            self.fence_us = report.at_us
        if report.word == report.live and report.edition == report.live_edition and not report.word:
            return
        before = self._end_what_the_edition_no_longer_knows()
        if report.at_us - report.live_us > REPEAT_US:
            before &= ~_BY_OPERATOR[report.edition]
        moved = self._moved(before & report.word, late=False)
        for bit in _bits(before & ~report.word | moved):
            self._end_live(bit, _alarm(report.edition, bit))
        for bit in _bits(report.word & ~before | moved):
            self._raise_live(bit, _alarm(report.edition, bit))
        for bit in _bits(before & report.word & ~moved & _BY_OPERATOR[report.edition]):
            self._see(bit, self._episode(bit).place, began_us=NEVER, ended_us=None)

    def _end_what_the_edition_no_longer_knows(self) -> int:
        """End what had another meaning in the edition by which the terminal reported before; give the other
        bits."""
        report = self.report
        if report.edition == report.live_edition:
            return report.live
        new, old = ALARMS[EDITIONS[report.edition]], ALARMS[EDITIONS[report.live_edition]]
        kept = report.live
        for bit in _bits(report.live):
            if bit not in new or new[bit].name != old[bit].name:
                self._end_live(bit, old[bit])
                self._episode(bit).fell_us = NEVER
                kept &= ~(1 << bit)
        return kept

    def _raise_live(self, bit: int, alarm: AlarmBit) -> None:
        report, episode, named = self.report, self._episode(bit), self._live_place(bit)
        comes_back = (
            alarm.ends is Ends.BY_TERMINAL
            and episode.fell_us != NEVER
            and report.received_us - episode.fell_us <= FLAP_US
            and named in (0, episode.place)
        )
        place = episode.place if comes_back else named
        if place not in (0, episode.place):
            is_first = episode.places_minute != self.minute
            episode.places_minute, episode.places = self.minute, 1 if is_first else episode.places + 1
        # A terminal's clock may stand still or flap within its second, but no alarm begins where the last one
        # did: that would be the last one, which may have been handled long ago.
        episode.began_us, episode.place = max(report.at_us, episode.began_us + 1), place
        flag = 1 << bit
        is_told = self.told & flag and named in (0, episode.late_place)
        if is_told and alarm.ends is Ends.BY_TERMINAL and self._run_reaches(report.at_us):
            # late data came first and has already told of it: the same alarm goes on, now live
            episode.began_us, episode.place = episode.late_began_us, episode.late_place
            self.told &= ~flag
            comes_back = False
        if not comes_back:
            episode.since_us = episode.began_us
        self._change(
            Change.RAISED,
            alarm,
            episode.place,
            began_us=episode.began_us,
            ended_us=None,
            seen_us=report.at_us,
            # Where the state was recalled and not read, nobody knows when it began.
            since_us=max(episode.since_us, 0) if comes_back else None,
        )

    def _run_reaches(self, at_us: int) -> bool:
        """The run of late data is newer than what was last said live, and reaches up to now."""
        is_next = self.report.live_us < self.late_us <= at_us <= self.late_us + LATE_HOLE_US
        return is_next and self.late_edition == self.report.edition

    def _end_live(self, bit: int, alarm: AlarmBit) -> None:
        report, episode = self.report, self._episode(bit)
        episode.seen_us = report.live_us
        # a clock that was set back, or believed for the first time, must not end an alarm before its start
        episode.ended_us = max(report.at_us, report.live_us, episode.began_us)
        episode.fell_us = report.received_us
        if alarm.ends is Ends.BY_TERMINAL:
            self._change(
                Change.ENDED,
                alarm,
                episode.place,
                began_us=episode.began_us,
                ended_us=episode.ended_us,
                seen_us=max(report.live_us, episode.began_us),
            )

    def _read_late(self) -> None:
        report = self.report
        follows = NEVER  # the time of the late report before this one, if it belongs to the same run
        is_near = self.late_us <= report.at_us <= self.late_us + LATE_HOLE_US
        is_parted = self.fence_us != NEVER and self.fence_us < report.at_us
        if is_near and not is_parted and self.late_edition == report.edition:
            follows = self.late_us
        else:
            self.late = self.told = 0
        moved = self._moved(self.late & report.word, late=True)
        for bit in _bits((self.late & ~report.word | moved) & self.told):
            self._end_late(bit, _alarm(report.edition, bit))
        for bit in _bits(report.word & ~self.late | moved):
            if not self._is_known(bit, follows):
                self._raise_late(bit, _alarm(report.edition, bit))
        for bit in _bits(self.late & report.word & ~moved & self.told):
            self._continue_late(bit, _alarm(report.edition, bit))
        self.late, self.late_us, self.late_edition = report.word, report.at_us, report.edition
        self.fence_us = report.live_us if report.live_us > report.at_us else NEVER
        self.told &= report.word

    def _is_known(self, bit: int, follows: int) -> bool:
        """Tell whether the bit, at the time of this late report, belongs to an alarm that exists already."""
        report, episode = self.report, self._episode(bit)
        at_us, place = report.at_us, report.place(bit)
        by_operator = _BY_OPERATOR[report.edition] >> bit & 1
        # the stored report before this one did not have the bit: it was set a second time
        is_second = by_operator and follows > episode.began_us
        if NEVER < episode.began_us <= at_us and place in (0, episode.place) and not is_second:
            is_on = report.live >> bit & 1
            seen_us = report.live_us if is_on else episode.seen_us
            if at_us <= seen_us:
                return True
            # the first thing heard after the terminal's last live word about it
            is_next = follows <= seen_us and (is_on or at_us < episode.ended_us)
            if is_next and (at_us - seen_us <= LATE_HOLE_US or not by_operator):
                return True
        return episode.late_began_us <= at_us <= episode.late_seen_us and place in (0, episode.late_place)

    def _raise_late(self, bit: int, alarm: AlarmBit) -> None:
        report, episode = self.report, self._episode(bit)
        episode.late_began_us = episode.late_seen_us = report.at_us
        episode.late_place = report.place(bit)
        self.told |= 1 << bit
        self._change(
            Change.RAISED,
            alarm,
            episode.late_place,
            began_us=report.at_us,
            ended_us=None if _stays_open(alarm) else report.at_us,
            seen_us=report.at_us,
        )

    def _end_late(self, bit: int, alarm: AlarmBit) -> None:
        episode = self._episode(bit)
        self.told &= ~(1 << bit)
        if not _stays_open(alarm):
            self._change(
                Change.ENDED,
                alarm,
                episode.late_place,
                began_us=episode.late_began_us,
                ended_us=self.report.at_us,
                seen_us=episode.late_seen_us,
            )

    def _continue_late(self, bit: int, alarm: AlarmBit) -> None:
        episode, at_us = self._episode(bit), self.report.at_us
        episode.late_seen_us = at_us
        ended_us = None if _stays_open(alarm) else at_us
        self._see(bit, episode.late_place, began_us=episode.late_began_us, ended_us=ended_us)

    def _moved(self, staying: int, *, late: bool) -> int:
        """Give the bits that stay set but are now about another place."""
        moved = 0
        for bit in _bits(staying & _WITH_PLACE):
            place, episode = self.report.place(bit) if late else self._live_place(bit), self._episode(bit)
            if place not in (0, episode.late_place if late else episode.place):
                moved |= 1 << bit
        return moved

    def _live_place(self, bit: int) -> int:
        """Give the place that a live report is about: none, where it is one too many in this minute."""
        place, episode = self.report.place(bit), self._episode(bit)
        has_named_many = episode.places_minute == self.minute and episode.places >= MAX_PLACES
        return 0 if has_named_many and place != episode.place else place

    def _episode(self, bit: int) -> Episode:
        key = episode_key(self.terminal, bit)
        if key not in self.found.known:
            self.found.known[key] = self.state.episode(key)
        return self.found.known[key]

    def _change(
        self,
        change: Change,
        alarm: AlarmBit,
        place: int,
        *,
        began_us: int,
        ended_us: int | None,
        seen_us: int,
        since_us: int | None = None,
    ) -> None:
        report = self.report
        self._count()
        self.found.add(
            AlarmChange(
                change,
                self.terminal,
                alarm,
                EDITIONS[report.edition],
                object_name(place),
                began_us=began_us,
                ended_us=ended_us,
                seen_us=seen_us,
                received_us=report.received_us,
                is_late=report.is_late,
                on_desk=not report.is_late or alarm.severity is Severity.EMERGENCY,
                row=report.row,
                since_us=since_us,
            )
        )

    def _see(self, bit: int, place: int, *, began_us: int, ended_us: int | None) -> None:
        at_us, name = self.report.at_us, object_name(place)
        key = (self.terminal, bit, name, began_us, ended_us is None)
        if key not in self.found.seen:
            alarm = _alarm(self.report.edition, bit)
            self.found.seen[key] = AlarmSeen(self.terminal, alarm, name, began_us, ended_us, at_us)
        seen = self.found.seen[key]
        seen.reports += ended_us is None
        seen.seen_us = max(seen.seen_us, at_us)
        seen.ended_us = ended_us


def _alarm(edition: int, bit: int) -> AlarmBit:
    return ALARMS[EDITIONS[edition]][bit]


def _stays_open(alarm: AlarmBit) -> bool:
    """A late alarm of this condition waits for an operator; all others are history from the start."""
    return alarm.ends is Ends.BY_OPERATOR and alarm.severity is Severity.EMERGENCY


def _bits(word: int) -> Iterator[int]:
    """Give the numbers of the set bits, ascending."""
    while word:
        yield (word & -word).bit_length() - 1
        word &= word - 1

"""What the worker remembers of every terminal, as arrays: a function of the log up to one position.

A terminal's place in the arrays is its **index**: dense, given in order of appearance, meaningless outside.
Digesting a batch changes the arrays in place; they are right again only when the batch's transaction has
committed. After any failure they are thrown away and restored from a snapshot (`worker.snapshot`) and the
log.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from alerts.state import AlarmState
from protocol.columns import FrameBatch
from store.decisions import BLOCKED, FORGOTTEN, Decision
from store.merge import SLOTS
from tickets.policy import TicketState
from tickets.silence import NEVER, SilenceState
from worker.budget import Spent
from worker.decided import Decided
from worker.fixes import LANE, no_lanes
from worker.fragments import Fragments
from worker.reading import Reading
from worker.runs import Runs
from worker.sessions import SESSION, Sessions

I64: TypeAlias = npt.NDArray[np.int64]
Flags: TypeAlias = npt.NDArray[np.bool_]
Arrays: TypeAlias = dict[str, npt.NDArray[Any]]

FRAMES_KEPT: Final = 3
"""Last frames of each terminal, for the evidence of a ticket."""
FRAME_BYTES: Final = 128
"""So much of each: more than a usual location report. Longer ones are cut, because this is kept for
every terminal.
"""
KEPT_FRAME: Final = np.dtype([("received_us", "<i8"), ("length", "<i4"), ("data", f"V{FRAME_BYTES}")])
_OPAQUE_FRAME: Final = np.dtype((np.void, KEPT_FRAME.itemsize))

REPORTS_KEPT: Final = 8
"""Hashes of the last reports of each terminal: a retransmission comes within seconds or a minute."""

E2011, E2013, E2019 = range(3)
"""Editions as numbers: places in `alerts.bits.EDITIONS`."""

TERMINAL: Final = np.dtype(
    [
        ("id", "<i4"),  # terminals.id
        ("edition", "u1"),  # of the last registration, or 2019 once its header says so
        ("newest_us", "<i8"),  # newest plausible time of a report that was not late
        ("clock_wrong_us", "<i8"),  # receipt of the last report whose clock was not believed
        ("session", "<i8"),  # the newest one: the terminal's epoch
        ("linked", "?"),
        ("link_changed_us", "<i8"),
        ("authenticated_session", "<i8"),  # the newest one that has authenticated
        ("lobby_us", "<i8"),  # last heard as a stranger
        ("without_code", "<i8"),  # how often it said something without its code
        ("reported_us", "<i8"),  # what follows is of the newest live report
        ("received_us", "<i8"),
        ("speed_kmh", "<f4"),
        ("heading_deg", "<i4"),
        ("altitude_m", "<i4"),
        ("alarm_bits", "<u4"),
        ("status_bits", "<u4"),
        ("mileage_km", "<f8"),
        ("lat", "<f8"),  # of the newest live report with a fix
        ("lon", "<f8"),
        ("fix_us", "<i8"),
        ("forgotten", "?"),  # and not heard since
        ("changed", "?"),  # not yet written to terminal_states
        ("next_frame", "u1"),  # where among the kept ones the next one goes
        ("next_report", "u1"),
    ]
)
_NEVER_YET: Final = {name: NEVER for name in TERMINAL.names or () if name.endswith("_us")}
_NOTHING_YET: Final = {
    "edition": E2013,
    "lat": np.nan,
    "lon": np.nan,
    "mileage_km": np.nan,
    "speed_kmh": np.nan,
}

GATEWAY: Final = np.dtype(
    [
        ("ticked_us", "<i8"),  # its last sign of life; NEVER while it is not expected to give any
        ("started_us", "<i8"),
        ("lost_us", "<i8"),  # since when its sessions count as ended, although it did not say so
    ]
)


class KeptFrame(NamedTuple):
    """One of the last frames of a terminal."""

    received_us: int
    length: int
    data: bytes
    """Plain, and cut at `FRAME_BYTES`."""


@dataclass(slots=True)
class Fleet:
    """All terminals that ever appeared, and the sessions that are open."""

    identities: list[str] = field(default_factory=list)
    index: dict[str, int] = field(default_factory=dict)
    terminals: npt.NDArray[np.void] = field(default_factory=lambda: np.zeros(0, TERMINAL))
    sessions: Sessions = field(default_factory=Sessions)
    gateways: npt.NDArray[np.void] = field(default_factory=lambda: _no_gateways())
    """By slot."""
    frames: npt.NDArray[np.void] = field(default_factory=lambda: np.zeros((0, FRAMES_KEPT), KEPT_FRAME))
    recent: I64 = field(default_factory=lambda: np.zeros((0, REPORTS_KEPT), np.int64))
    """Hashes of the last reports, a guess at what will be sent again; a wrong guess costs time only."""
    fixes: npt.NDArray[np.void] = field(default_factory=lambda: no_lanes(0))
    """By terminal and lateness: what is known of the fixes before (`worker.fixes`)."""
    fragments: Fragments = field(default_factory=Fragments)
    checked: Spent = field(default_factory=Spent)
    """Bodies that were read only to know whether they can be (`worker.messages`)."""
    stored: Spent = field(default_factory=Spent)
    """Contents of media."""
    reading: Reading = field(default_factory=Reading)
    """Messages that were read one by one."""
    alarms: AlarmState = field(default_factory=AlarmState.empty)
    silence: SilenceState = field(default_factory=SilenceState.empty)
    tickets: TicketState = field(default_factory=TicketState.empty)
    decided: Decided = field(default_factory=Decided)

    def __len__(self) -> int:
        return len(self.identities)

    def __repr__(self) -> str:
        return f"<Fleet {len(self)} terminals, {len(self.sessions)} sessions>"

    def add(self, identity: str, terminal_id: int) -> None:
        """Make a place for a terminal. Call `grow` when all are added."""
        self.index[identity] = len(self.identities)
        self.identities.append(identity)
        if len(self.identities) > len(self.terminals):
            self._make_room()
        self.terminals[self.index[identity]]["id"] = terminal_id

    def grow(self) -> None:
        """Bring the rules' states to the number of terminals."""
        for state in (self.alarms, self.silence, self.tickets):
            if len(state) < len(self):
                state.grow(len(self))

    def take(self, decisions: Sequence[Decision]) -> None:
        """Let what was decided hold from here on; of terminals that have not appeared nothing is kept."""
        self.decided.take(decisions)
        for kind, subject, value in decisions:
            index = self.index.get(subject)
            if index is not None and kind == BLOCKED:
                self.silence.blocked[index] = bool(value)
            elif index is not None and kind == FORGOTTEN and value:
                self._forget(index)

    def keep_frames(self, frames: FrameBatch, order: I64, terminal: I64, received_us: I64) -> None:
        """Remember the last frames of each terminal. `order` gives frames by terminal, and `terminal` the
        terminal of each. The data goes on for `FRAME_BYTES` behind them.
        """
        rows, slot = _ring_slots(Runs.of(terminal), self.terminals["next_frame"], FRAMES_KEPT)
        of, rows = terminal[rows], order[rows]
        kept = np.empty(len(rows), KEPT_FRAME)
        kept["received_us"] = received_us[rows]
        kept["length"] = frames.length[rows]
        whole = np.ndarray((len(frames.data) - FRAME_BYTES + 1,), f"V{FRAME_BYTES}", frames.data, 0, (1,))
        kept["data"] = whole[frames.start[rows]]
        rings = self.frames.reshape(-1).view(_OPAQUE_FRAME)  # copied in one move, and not field by field
        rings[of * FRAMES_KEPT + slot] = kept.view(_OPAQUE_FRAME)

    def are_repeated(self, reporters: Runs, body_hash: I64) -> Flags:
        """Say which reports look like one of the last few of their terminals, and remember all of them."""
        equal = self.recent.take(reporters.key, axis=0) == body_hash[:, None]
        repeated: Flags = equal.view(f"u{REPORTS_KEPT}")[:, 0] != 0  # any of the eight
        rows, slot = _ring_slots(reporters, self.terminals["next_report"], REPORTS_KEPT)
        self.recent[reporters.key[rows], slot] = body_hash[rows]
        return repeated

    def last_frames(self, index: int) -> list[KeptFrame]:
        """Give the last frames of a terminal, oldest first."""
        slots = np.roll(self.frames[index], -int(self.terminals["next_frame"][index]))
        return [
            KeptFrame(int(each["received_us"]), int(each["length"]), each["data"].tobytes()[: each["length"]])
            for each in slots
            if each["length"]
        ]

    def to_arrays(self) -> Arrays:
        """Give everything as named arrays; `from_arrays` restores it."""
        arrays: Arrays = {
            "identities": np.frombuffer("\n".join(self.identities).encode(), np.uint8),
            "terminals": self.terminals[: len(self)],
            "sessions": self.sessions.to_array(),
            "gateways": self.gateways,
            "frames": self.frames[: len(self)],
            "recent": self.recent[: len(self)],
            "fixes": self.fixes[: len(self)],
            "fragments": self.fragments.to_array(),
            "checked": self.checked.to_array(),
            "stored": self.stored.to_array(),
        }
        for part in ("alarms", "silence", "tickets", "reading", "decided"):
            arrays |= {f"{part}.{name}": value for name, value in getattr(self, part).to_arrays().items()}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> "Fleet":
        """Restore what `to_arrays` gave.

        Raises:
            KeyError, ValueError: another version wrote it.
        """
        expected = {
            "terminals": TERMINAL,
            "sessions": SESSION,
            "gateways": GATEWAY,
            "frames": KEPT_FRAME,
            "fixes": LANE,
        }
        if any(arrays[name].dtype != kind for name, kind in expected.items()):
            raise ValueError("another version wrote these arrays")
        text = arrays["identities"].tobytes().decode()
        identities = text.split("\n") if text else []
        return cls(
            identities=identities,
            index={identity: number for number, identity in enumerate(identities)},
            terminals=arrays["terminals"].copy(),
            sessions=Sessions(arrays["sessions"]),
            gateways=arrays["gateways"].copy(),
            frames=arrays["frames"].copy(),
            recent=arrays["recent"].copy(),
            fixes=arrays["fixes"].copy(),
            fragments=Fragments.from_array(arrays["fragments"]),
            checked=Spent.from_array(arrays["checked"]),
            stored=Spent.from_array(arrays["stored"]),
            reading=Reading.from_arrays(_part(arrays, "reading")),
            alarms=AlarmState.from_arrays(_part(arrays, "alarms")),
            silence=SilenceState.from_arrays(_part(arrays, "silence")),
            tickets=TicketState.from_arrays(_part(arrays, "tickets")),
            decided=Decided.from_arrays(_part(arrays, "decided")),
        )

    def copy(self) -> "Fleet":
        """Give a fleet that says the same and shares nothing."""
        return self.from_arrays(self.to_arrays())

    def _forget(self, index: int) -> None:
        """Know of a terminal what is known of one that was never heard; its sessions may speak again."""
        number = self.terminals["id"][index]
        self.terminals[index] = _no_terminals(1)[0]
        for name, value in (("id", number), ("forgotten", True), ("changed", True)):
            self.terminals[name][index] = value
        self.frames[index], self.recent[index] = np.zeros(1, KEPT_FRAME), 0
        self.fixes[index] = no_lanes(1)[0]
        is_blocked = self.silence.blocked[index]
        for state in (self.alarms, self.silence, self.tickets):
            state.reset(index)
        self.silence.blocked[index] = is_blocked

    def _make_room(self) -> None:
        """Double the arrays, so that terminals that appear one by one cost little each."""
        larger = _no_terminals(max(64, 2 * len(self.terminals)))
        larger[: len(self.terminals)] = self.terminals
        frames = np.zeros((len(larger), FRAMES_KEPT), KEPT_FRAME)
        frames[: len(self.frames)] = self.frames
        recent = np.zeros((len(larger), REPORTS_KEPT), np.int64)
        recent[: len(self.recent)] = self.recent
        fixes = no_lanes(len(larger))
        fixes[: len(self.fixes)] = self.fixes
        self.terminals, self.frames, self.recent, self.fixes = larger, frames, recent, fixes


def _no_terminals(count: int) -> npt.NDArray[np.void]:
    terminals = np.zeros(count, TERMINAL)
    for name, value in (_NEVER_YET | _NOTHING_YET).items():
        terminals[name] = value
    return terminals


def _no_gateways() -> npt.NDArray[np.void]:
    gateways = np.zeros(SLOTS, GATEWAY)
    for name in GATEWAY.names or ():
        gateways[name] = NEVER
    return gateways


def _ring_slots(runs: Runs, following: npt.NDArray[np.uint8], size: int) -> tuple[I64, I64]:
    """Say which rows still stand in the rings of their terminals when all have been put in, and in which
    slot.

    Every terminal has a ring of `size` slots; `following` says where its next row goes, and moves on.
    """
    kept, terminal = np.minimum(runs.lengths, size), runs.keys
    end = following[terminal] + kept
    following[terminal] = end % size
    ends = np.cumsum(kept)
    back = np.repeat(ends, kept) - np.arange(ends[-1] if len(ends) else 0)  # 1 for the newest
    return np.repeat(runs.last + 1, kept) - back, (np.repeat(end, kept) - back) % size


def _part(arrays: Arrays, prefix: str) -> Arrays:
    return {name.partition(".")[2]: value for name, value in arrays.items() if name.startswith(f"{prefix}.")}

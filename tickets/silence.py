"""When a terminal that says nothing should have said something.

Silence is judged against what this terminal should be sending, which follows from its **mode**, and only at
ticks of the log: lag, stalls and restarts of ours move time for every terminal alike, and a replay judges the
same.

    mode              how it is known                                    silence allowed
    moving            ignition (ACC) on, or the vehicle moves            `SilencePolicy.moving_s`
    parked            ignition off and standing                          `parked_s`
    asleep            parked, and item 0x2A says sleep or deep sleep     `asleep_s`
    out_of_service    status bit 4 (停运)                                any
    deregistered      the last thing it said was 0x0003 (终端注销)       any
    unknown           it never reported a location                       any: nobody knows what to expect

Any frame is a sign of life, a heartbeat as much as a location: a terminal that talks but has no fix is not
silent, and an open connection on which nothing arrives is. A terminal that never authenticated, or that is
blocked, is not judged.

After a gap in the ticks (our own restart or stall) nobody is judged until every terminal has had its full
time to come back: the deadline of each is counted from the end of the gap.

Calling sequence, in order of the log:

    observe(state, heard, reports)           # every batch of frames, up to the next tick
    interrupted(state, at_us)                # a gateway has started: all its links are new
    verdict = judge(state, tick_us, policy)  # every tick; then tickets.policy.decide(…)

The state changes in place; it is a function of the log and of `blocked`, which the worker copies from the
database.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from protocol.words import ACC_ON, OUT_OF_SERVICE
from tickets.arrays import PerTerminal

I64: TypeAlias = npt.NDArray[np.int64]
I32: TypeAlias = npt.NDArray[np.int32]
U32: TypeAlias = npt.NDArray[np.uint32]
U8: TypeAlias = npt.NDArray[np.uint8]
F32: TypeAlias = npt.NDArray[np.float32]
Flags: TypeAlias = npt.NDArray[np.bool_]

NEVER: Final = -(2**63)
SECOND_US: Final = 1_000_000

MOVING_BIT_2019: Final = 1 << 22
MOVING_KMH: Final = 5.0
"""From this speed on a vehicle moves whatever its ignition wire says. Standing receivers drift up to 3
km/h."""
ASLEEP_BITS: Final = 0b11
"""Item 0x2A (IO状态位): bit 0 deep sleep, bit 1 sleep."""
TICK_GAP_US: Final = 5 * SECOND_US
"""Ticks come once a second; a longer gap, or a step back, means that we were not listening."""
DEREGISTER: Final = 0x0003
_UNJUDGED: Final = 2**61
"""A time that no silence reaches, and that can be added to any time without overflow."""


class Mode(IntEnum):
    """What a terminal is doing, as far as that decides what it should be sending."""

    UNKNOWN = 0
    MOVING = 1
    PARKED = 2
    ASLEEP = 3
    OUT_OF_SERVICE = 4
    DEREGISTERED = 5

    @property
    def text(self) -> str:
        """The name that the database and the API use."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class SilencePolicy:
    """How long a terminal may say nothing.

    The defaults leave room for three missed turns of what is usual: a heartbeat each minute and a report
    every 10 to 30 s while moving, one every 5 to 20 minutes with the ignition off, one a day in deep sleep.
    """

    moving_s: float = 300.0
    parked_s: float = 3600.0
    asleep_s: float = 26 * 3600.0

    def allowed_us(self) -> I64:
        """Give the silence allowed, by mode."""
        allowed = np.full(len(Mode), _UNJUDGED, np.int64)
        allowed[Mode.MOVING] = self.moving_s * SECOND_US
        allowed[Mode.PARKED] = self.parked_s * SECOND_US
        allowed[Mode.ASLEEP] = self.asleep_s * SECOND_US
        return allowed


@dataclass(slots=True)
class SilenceState(PerTerminal):
    """One element per terminal, by the worker's dense terminal index, and what is known of the log's
    clock."""

    heard_us: I64
    """Receive time of its last frame; `NEVER` before the first."""
    mode: U8
    authenticated: Flags
    """Has authenticated at least once."""
    without_code_us: I64
    """When it last said something without its code, which does not count; `NEVER` before the first time."""
    blocked: Flags
    """By a person; the worker sets it."""
    silent_since_us: I64
    """The last sign of life before the silence that is going on; `NEVER` while there is none."""
    silent_at_us: I64
    """The tick that judged so."""
    alarm_bits: U32
    """Of the newest live report: says whether its power was lost before."""
    tick_us: int = NEVER
    resumed_us: int = NEVER
    """The end of the last gap in the ticks."""

    @classmethod
    def empty(cls, terminals: int = 0) -> Self:
        """Give the state of terminals of which nothing was heard."""
        return cls(
            heard_us=np.full(terminals, NEVER, np.int64),
            mode=np.zeros(terminals, np.uint8),
            authenticated=np.zeros(terminals, np.bool_),
            without_code_us=np.full(terminals, NEVER, np.int64),
            blocked=np.zeros(terminals, np.bool_),
            silent_since_us=np.full(terminals, NEVER, np.int64),
            silent_at_us=np.full(terminals, NEVER, np.int64),
            alarm_bits=np.zeros(terminals, np.uint32),
        )

    def __len__(self) -> int:
        return len(self.heard_us)

    @property
    def is_silent(self) -> Flags:
        """Which terminals are silent, as judged at the last tick."""
        silent: Flags = self.silent_since_us != NEVER
        return silent


@dataclass(frozen=True, slots=True)
class Heard:
    """All frames of a batch, of whatever id, in order of arrival."""

    terminal: I64
    received_us: I64
    msg_id: I32
    authenticated: Flags
    """The terminal had authenticated in this session, or did so with this frame."""


@dataclass(frozen=True, slots=True)
class LiveReports:
    """The location reports of a batch that are not late, in order of arrival."""

    terminal: I64
    frame: I64
    """Which frame of `Heard` carried it."""
    status_bits: U32
    alarm_bits: U32
    speed_kmh: F32
    io_state: I32
    """Item 0x2A, -1 without one."""
    is_2019: Flags


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a tick found, as terminal indices, ascending."""

    silent: I64
    """Silent from now on."""
    back: I64
    """Were silent and have been heard."""
    excused: I64
    """Are silent but no longer judged: blocked meanwhile."""


def observe(state: SilenceState, heard: Heard, reports: LiveReports) -> None:
    """Take note of what was heard."""
    state.heard_us[heard.terminal] = heard.received_us  # of equal indices the last one stays
    state.authenticated[heard.terminal[heard.authenticated]] = True
    state.alarm_bits[reports.terminal] = reports.alarm_bits
    # Whoever knows the number of a terminal that authenticates could else make its silence unseen.
    is_own = heard.authenticated | ~state.authenticated[heard.terminal]
    gone = np.flatnonzero((heard.msg_id == DEREGISTER) & is_own)
    if not len(gone):
        state.mode[reports.terminal] = modes(reports)
        return
    order = np.argsort(np.concatenate([reports.frame, gone]), kind="stable")
    terminal = np.concatenate([reports.terminal, heard.terminal[gone]])[order]
    mode = np.concatenate([modes(reports), np.full(len(gone), Mode.DEREGISTERED, np.uint8)])[order]
    state.mode[terminal] = mode


def modes(reports: LiveReports) -> U8:
    """Tell the mode of each report's terminal."""
    is_on = (reports.status_bits & ACC_ON) != 0
    moves = is_on | (reports.speed_kmh >= MOVING_KMH)
    moves |= reports.is_2019 & ((reports.status_bits & MOVING_BIT_2019) != 0)
    sleeps = (reports.io_state > 0) & ((reports.io_state & ASLEEP_BITS) != 0)
    mode = np.where(moves, Mode.MOVING, np.where(sleeps, Mode.ASLEEP, Mode.PARKED))
    mode[(reports.status_bits & OUT_OF_SERVICE) != 0] = Mode.OUT_OF_SERVICE
    return mode.astype(np.uint8)


def interrupted(state: SilenceState, at_us: int) -> None:
    """Take note that all terminals had to connect again, and give them their full time to do so."""
    state.resumed_us = max(state.resumed_us, at_us)


def watched(state: SilenceState, policy: SilencePolicy) -> Flags:
    """Tell which terminals are judged at all."""
    return _watched(state, policy.allowed_us()[state.mode])


def _watched(state: SilenceState, allowed: I64) -> Flags:
    judged: Flags = (allowed < _UNJUDGED) & state.authenticated & ~state.blocked & (state.heard_us != NEVER)
    return judged


def speaks_without_code(state: SilenceState) -> Flags:
    """Tell which silent terminals have spoken since, without their code: not silence is their fault."""
    speaks: Flags = state.is_silent & (state.without_code_us > state.silent_since_us)
    return speaks


def judge(state: SilenceState, tick_us: int, policy: SilencePolicy) -> Verdict:
    """Tell at a tick who fell silent and who is back."""
    if state.tick_us == NEVER or not 0 <= tick_us - state.tick_us <= TICK_GAP_US:
        state.resumed_us = tick_us
    state.tick_us = tick_us
    allowed = policy.allowed_us()[state.mode]
    is_silent, is_watched = state.is_silent, _watched(state, allowed)
    is_overdue = np.maximum(state.heard_us, state.resumed_us) < tick_us - allowed
    is_back = is_silent & (state.heard_us != state.silent_since_us)
    verdict = Verdict(
        silent=np.flatnonzero(is_overdue & is_watched & ~is_silent),
        back=np.flatnonzero(is_back),
        excused=np.flatnonzero(is_silent & ~is_watched & ~is_back),
    )
    state.silent_since_us[verdict.silent] = state.heard_us[verdict.silent]
    state.silent_at_us[verdict.silent] = tick_us
    for over in (verdict.back, verdict.excused):
        state.silent_since_us[over] = NEVER
        state.silent_at_us[over] = NEVER
    return verdict

"""Who gets a repair ticket, when many silent terminals are one incident instead, and what proves a repair.

    silent ── dwell ──→ ticket ── back ──→ proof ──→ closed
       │                   ↑ └──── silent again ──┘
       └── part of an incident ── the incident is over ── full time to come back, and dwell ──→ ticket

A ticket opens when a silence has lasted `dwell_s` longer than allowed: tunnels and garages are shorter. There
is one ticket per silence; whether a ticket of an earlier silence is still open, only the database knows (one
open ticket per terminal and fault): then this is the same fault again, and the same ticket.

**Mass gate** (批量离线). When within `mass_window_s` more terminals fall silent than `mass_share` of the
fleet that was talking, and at least `mass_least`, the cause is not in the terminals; of a smaller fleet it
takes everybody. That is one incident and no ticket. To it belong those that made it up, later ones while it
is still growing so, and those that were last heard before it began: who has spoken since is not part of it
and gets a ticket of its own. It is over when fewer than half of the number that opened it are left; these
survivors are judged again.

Only creation is suppressed, never resolution: a ticket that is open closes on proof during an incident as
well.

A terminal that is silent and meanwhile speaks without its code, which does not count, is not called so: its
fault is `without_code`. Whether it lost its code or somebody else speaks in its name, it has to be looked at.

A ticket closes on **proof**: `proof_reports` good location reports (live, believable time, with a fix), or
talking on for `proof_s` without falling silent.

Calling sequence, in order of the log:

    credit(tickets, terminal)                          # terminal indices of the good reports of each batch
    verdict = silence.judge(…)                         # every tick, then
    decisions = decide(tickets, silence, verdict, policies)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from math import ceil
from types import MappingProxyType
from typing import Final, Self

import numpy as np

from tickets.arrays import PerTerminal
from tickets.silence import (
    I64,
    NEVER,
    SECOND_US,
    Flags,
    Mode,
    SilencePolicy,
    SilenceState,
    Verdict,
    speaks_without_code,
    watched,
)

SILENT: Final = "silent"
WITHOUT_CODE: Final = "without_code"
FAULTS: Final = (SILENT, WITHOUT_CODE)
"""The faults of these tickets."""
INCIDENT: Final = "mass_silence"
"""The kind of these incidents."""
POWER_LOST_BITS: Final = 1 << 7 | 1 << 8
"""Alarm bits 7 and 8 (主电源欠压, 主电源掉电), the same in all editions."""
EVERYBODY: Final = 5
"""In a fleet smaller than `mass_least` it takes all of it, and at least so many: three trucks in one garage
are no outage."""
_CHINA: Final = timezone(timedelta(hours=8))


@dataclass(frozen=True, slots=True)
class TicketPolicy:
    """When silence becomes work."""

    dwell_s: float = 1800.0
    """So much longer than allowed: shorter silences are tunnels, garages and bad coverage."""
    mass_share: float = 0.1
    """Silence is individual; in any ten minutes it takes far below one in a hundred."""
    mass_least: int = 10
    """Fewer terminals than this are no mass, however small the fleet."""
    mass_window_s: float = 600.0
    """Terminals that lost the same network do not fall silent in the same second."""
    proof_reports: int = 5
    proof_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something was decided: a code and the numbers, from which `sentence` makes English and the web page
    any language."""

    code: str
    params: Mapping[str, int | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TicketOpened:
    """A ticket is due. Insert it; where one is open for (terminal, fault), note the reason on that one."""

    terminal: int
    fault: str
    reason: Reason
    at_us: int


@dataclass(frozen=True, slots=True)
class TicketClosed:
    """The terminal has proved that it works. Close its open ticket, if a person has not done so."""

    terminal: int
    fault: str
    proof: Reason
    at_us: int


@dataclass(frozen=True, slots=True)
class IncidentOpened:
    """Many fell silent at once."""

    terminals: I64
    reason: Reason
    at_us: int


@dataclass(frozen=True, slots=True)
class IncidentClosed:
    """What is left of it is no mass. `terminals` is how many were silent at its height."""

    terminals: int
    survivors: I64
    reason: Reason
    at_us: int


@dataclass(frozen=True, slots=True)
class Decisions:
    """What a tick means for repair work."""

    opened: list[TicketOpened] = field(default_factory=list)
    closed: list[TicketClosed] = field(default_factory=list)
    incidents: list[IncidentOpened | IncidentClosed] = field(default_factory=list)


@dataclass(slots=True)
class TicketState(PerTerminal):
    """One element per terminal, by the worker's dense terminal index, and the incident that is going on."""

    due_us: I64
    """When the silence that is going on becomes a ticket; `NEVER` without one, or once the ticket is open."""
    opened_us: I64
    """When the ticket was opened that waits for proof; `NEVER` without one."""
    without_code: Flags
    """That ticket is about speaking without its code, and not about silence."""
    returned_us: I64
    """First sign of life after the silence; `NEVER` while silent."""
    good_reports: I64
    """Since then."""
    in_incident: Flags
    incident_us: int = NEVER
    incident_least: int = 0
    """How many it took to open it."""
    incident_height: int = 0

    @classmethod
    def empty(cls, terminals: int = 0) -> Self:
        """Give the state of terminals without a ticket."""
        return cls(
            due_us=np.full(terminals, NEVER, np.int64),
            opened_us=np.full(terminals, NEVER, np.int64),
            without_code=np.zeros(terminals, np.bool_),
            returned_us=np.full(terminals, NEVER, np.int64),
            good_reports=np.zeros(terminals, np.int64),
            in_incident=np.zeros(terminals, np.bool_),
        )

    def __len__(self) -> int:
        return len(self.due_us)


def credit(tickets: TicketState, terminal: I64) -> None:
    """Count good reports (live, believable time, with a fix) of terminals whose ticket waits for proof."""
    waiting = terminal[tickets.opened_us[terminal] != NEVER]
    np.add.at(tickets.good_reports, waiting, 1)


def decide(
    tickets: TicketState,
    silence: SilenceState,
    verdict: Verdict,
    policies: tuple[SilencePolicy, TicketPolicy],
) -> Decisions:
    """Decide at a tick, right after its verdict, what is due."""
    expected, policy = policies
    decisions = Decisions()
    _note(tickets, silence, verdict, policy)
    _gate(tickets, silence, verdict, policies, decisions)
    is_due = (tickets.due_us != NEVER) & (tickets.due_us <= silence.tick_us) & ~tickets.in_incident
    due = np.flatnonzero(is_due)
    # after a gap in the ticks nobody gets a ticket before having had the time to come back
    allowed = expected.allowed_us()[silence.mode[due]]
    had_time = silence.resumed_us + allowed <= silence.tick_us
    due, allowed = due[had_time], allowed[had_time]
    is_new = tickets.opened_us[due] == NEVER  # else it is the same ticket, of the same fault
    tickets.without_code[due[is_new]] = speaks_without_code(silence)[due[is_new]]
    for terminal, allowed_us in zip(due.tolist(), allowed.tolist(), strict=True):
        reason = _why(silence, terminal, allowed_us)
        decisions.opened.append(TicketOpened(terminal, _fault(tickets, terminal), reason, silence.tick_us))
    tickets.due_us[due] = NEVER
    tickets.opened_us[due] = silence.tick_us
    _close(tickets, silence, policy, decisions)
    return decisions


def _note(tickets: TicketState, silence: SilenceState, verdict: Verdict, policy: TicketPolicy) -> None:
    """Write down who fell silent and who is back."""
    tickets.due_us[verdict.silent] = silence.tick_us + int(policy.dwell_s * SECOND_US)
    tickets.returned_us[verdict.silent] = NEVER
    tickets.good_reports[verdict.silent] = 0
    for over in (verdict.back, verdict.excused):
        tickets.due_us[over] = NEVER
        tickets.in_incident[over] = False
        tickets.returned_us[over] = silence.heard_us[over]


def _gate(
    tickets: TicketState,
    silence: SilenceState,
    verdict: Verdict,
    policies: tuple[SilencePolicy, TicketPolicy],
    decisions: Decisions,
) -> None:
    """Keep a mass silence from becoming tickets."""
    expected, policy = policies
    if tickets.incident_us == NEVER and not len(verdict.silent):
        return
    is_silent = silence.is_silent
    is_recent = is_silent & (silence.silent_at_us > silence.tick_us - int(policy.mass_window_s * SECOND_US))
    talking = int(np.count_nonzero(watched(silence, expected) & (~is_silent | is_recent)))
    least = max(policy.mass_least, ceil(policy.mass_share * talking))
    least = min(least, max(EVERYBODY, talking))
    recent = int(np.count_nonzero(is_recent))
    if recent >= least:
        joining = np.flatnonzero(is_recent)
    elif tickets.incident_us != NEVER:
        joining = verdict.silent[silence.heard_us[verdict.silent] <= tickets.incident_us]
    else:
        return
    tickets.in_incident[joining] = True
    members = int(np.count_nonzero(tickets.in_incident))
    if tickets.incident_us == NEVER:
        tickets.incident_us, tickets.incident_least = silence.tick_us, least
        reason = Reason(
            "mass_silence", {"terminals": recent, "talking": talking, "window_s": round(policy.mass_window_s)}
        )
        decisions.incidents.append(IncidentOpened(joining, reason, silence.tick_us))
    tickets.incident_height = max(tickets.incident_height, members)
    if members * 2 < tickets.incident_least and recent < least:
        _end_incident(tickets, silence, policies, decisions)


def _end_incident(
    tickets: TicketState,
    silence: SilenceState,
    policies: tuple[SilencePolicy, TicketPolicy],
    decisions: Decisions,
) -> None:
    """Judge again those that have not come back: they get their full time, and dwell."""
    expected, policy = policies
    survivors = np.flatnonzero(tickets.in_incident)
    allowed = expected.allowed_us()[silence.mode[survivors]]
    again_us = silence.tick_us + allowed + int(policy.dwell_s * SECOND_US)
    # those that had their ticket before the incident keep it
    tickets.due_us[survivors] = np.where(tickets.due_us[survivors] != NEVER, again_us, NEVER)
    reason = Reason(
        "mass_over",
        {
            "terminals": tickets.incident_height,
            "survivors": len(survivors),
            "lasted_s": (silence.tick_us - tickets.incident_us) // SECOND_US,
        },
    )
    closed = IncidentClosed(tickets.incident_height, survivors, reason, silence.tick_us)
    decisions.incidents.append(closed)
    tickets.in_incident[:] = False
    tickets.incident_us, tickets.incident_least, tickets.incident_height = NEVER, 0, 0


def _close(tickets: TicketState, silence: SilenceState, policy: TicketPolicy, decisions: Decisions) -> None:
    """Close what is proved."""
    is_waiting = (tickets.opened_us != NEVER) & (tickets.returned_us != NEVER)
    if not is_waiting.any():
        return
    by_reports = is_waiting & (tickets.good_reports >= policy.proof_reports)
    talked_us = np.where(is_waiting, silence.heard_us - tickets.returned_us, 0)
    by_time = is_waiting & (talked_us >= policy.proof_s * SECOND_US) & ~by_reports
    for terminal in np.flatnonzero(by_reports | by_time).tolist():
        proof = Reason(
            "reports_again" if by_reports[terminal] else "talks_again",
            {
                "reports": int(tickets.good_reports[terminal]),
                "talked_s": int(talked_us[terminal]) // SECOND_US,
                "since": _local_time(int(tickets.returned_us[terminal])),
            },
        )
        decisions.closed.append(TicketClosed(terminal, _fault(tickets, terminal), proof, silence.tick_us))
    proved = by_reports | by_time
    tickets.opened_us[proved] = NEVER
    tickets.good_reports[proved] = 0


def _fault(tickets: TicketState, terminal: int) -> str:
    return WITHOUT_CODE if tickets.without_code[terminal] else SILENT


def _why(silence: SilenceState, terminal: int, allowed_us: int) -> Reason:
    since_us = int(silence.silent_since_us[terminal])
    what = WITHOUT_CODE if speaks_without_code(silence)[terminal] else SILENT
    return Reason(
        f"{what}_{Mode(int(silence.mode[terminal])).text}",
        {
            "silent_s": (silence.tick_us - since_us) // SECOND_US,
            "allowed_s": allowed_us // SECOND_US,
            "since": _local_time(since_us),
            "power_lost": int(bool(silence.alarm_bits[terminal] & POWER_LOST_BITS)),
        },
    )


_DOING: Final = MappingProxyType(
    {
        "moving": "it was driving or had its ignition on",
        "parked": "it was parked with its ignition off",
        "asleep": "it was asleep",
    }
)


def sentence(reason: Reason) -> str:
    """Say a reason in English, for a person who has to accept it."""
    match reason.code, reason.params:
        case code, {"silent_s": int(silent), "allowed_s": int(allowed), "since": since, "power_lost": lost}:
            fault, _, mode = code.rpartition("_")
            heard = "It speaks without its code; nothing else" if fault == WITHOUT_CODE else "Nothing"
            power = " Its main power was low or lost before." if lost else ""
            return (
                f"{heard} was heard for {_duration(silent)}, since {since}; {_DOING[mode]}"
                f" and should have spoken within {_duration(allowed)}.{power}"
            )
        case "reports_again", {"reports": reports, "since": since}:
            return f"It reports again: {reports} good location reports since {since}."
        case "talks_again", {"talked_s": int(talked), "since": since}:
            return f"It talks again, for {_duration(talked)} since {since} without falling silent."
        case "mass_silence", {"terminals": terminals, "talking": talking, "window_s": int(window)}:
            return f"{terminals} of {talking} terminals fell silent within {_duration(window)}."
        case "mass_over", {"terminals": terminals, "survivors": survivors, "lasted_s": int(lasted)}:
            return f"{survivors} of {terminals} terminals are still silent after {_duration(lasted)}."
    raise ValueError(f"reason {reason.code} has no sentence for {dict(reason.params)}")


def _duration(seconds: int) -> str:
    """Say a duration with its two largest units."""
    units = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))
    parts: list[str] = []
    for size, unit in units:
        if seconds >= size or (unit == "s" and not parts):
            parts.append(f"{seconds // size} {unit}")
            seconds %= size
        if len(parts) == 2 or (parts and seconds == 0):
            break
    return " ".join(parts)


def _local_time(us: int) -> str:
    """Write a time as people in China read it."""
    at = datetime.fromtimestamp(us // SECOND_US, UTC).astimezone(_CHINA)
    return f"{at:%Y-%m-%d %H:%M:%S} (UTC+8)"

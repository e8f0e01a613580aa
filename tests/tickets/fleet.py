"""Trucks in virtual time, with a tick of the log every second, and what is decided about them.

    fleet = Fleet()
    truck = fleet.truck()
    truck.at(0).drives()
    fleet.run(until=100)
    assert fleet.story == ["91 ticket 0 silent_moving"]

Times are seconds. The policy is short: 60 s while moving, 300 s parked, 900 s asleep, then 30 s of dwell.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from protocol.words import ACC_ON, OUT_OF_SERVICE
from tickets.policy import (
    Decisions,
    IncidentClosed,
    IncidentOpened,
    Reason,
    TicketPolicy,
    TicketState,
    credit,
    decide,
    sentence,
)
from tickets.silence import (
    Heard,
    LiveReports,
    SilencePolicy,
    SilenceState,
    interrupted,
    judge,
    observe,
)

EPOCH_US = 1_760_000_000_000_000
SECOND = 1_000_000
ALLOWED = SilencePolicy(moving_s=60, parked_s=300, asleep_s=900)
POLICY = TicketPolicy(
    dwell_s=30, mass_least=5, mass_share=0.3, mass_window_s=60, proof_reports=3, proof_s=100
)
LOCATION, HEARTBEAT, REGISTER, DEREGISTER = 0x0200, 0x0002, 0x0100, 0x0003


@dataclass(frozen=True)
class Said:
    """A frame, and the location report in it, if there is one."""

    terminal: int
    at: float
    msg_id: int = LOCATION
    authenticated: bool = True
    status: int = ACC_ON
    alarms: int = 0
    speed_kmh: float = 0
    io_state: int = -1
    is_2019: bool = False
    has_fix: bool = True


def batch(said: list[Said]) -> tuple[Heard, LiveReports]:
    """Put frames into columns."""
    reports = [(number, each) for number, each in enumerate(said) if each.msg_id == LOCATION]
    heard = Heard(
        terminal=np.array([each.terminal for each in said], np.int64),
        received_us=np.array([EPOCH_US + int(each.at * SECOND) for each in said], np.int64),
        msg_id=np.array([each.msg_id for each in said], np.int32),
        authenticated=np.array([each.authenticated for each in said], np.bool_),
    )
    live = LiveReports(
        terminal=np.array([each.terminal for _, each in reports], np.int64),
        frame=np.array([number for number, _ in reports], np.int64),
        status_bits=np.array([each.status for _, each in reports], np.uint32),
        alarm_bits=np.array([each.alarms for _, each in reports], np.uint32),
        speed_kmh=np.array([each.speed_kmh for _, each in reports], np.float32),
        io_state=np.array([each.io_state for _, each in reports], np.int32),
        is_2019=np.array([each.is_2019 for _, each in reports], np.bool_),
    )
    return heard, live


@dataclass
class Fleet:
    """Terminals and the worker's part of their story."""

    allowed: SilencePolicy = ALLOWED
    policy: TicketPolicy = POLICY
    silence: SilenceState = field(default_factory=SilenceState.empty)
    tickets: TicketState = field(default_factory=TicketState.empty)
    now: int = 0
    story: list[str] = field(default_factory=list)
    reasons: list[Reason] = field(default_factory=list)
    decisions: list[Decisions] = field(default_factory=list)
    trucks: list["Truck"] = field(default_factory=list)

    def truck(self) -> "Truck":
        """Add a terminal of which nothing was heard yet."""
        self.trucks.append(Truck(self, len(self.trucks)))
        self.silence.grow(len(self.trucks))
        self.tickets.grow(len(self.trucks))
        return self.trucks[-1]

    def hear(self, *said: Said) -> None:
        observe(self.silence, *batch(list(said)))
        good = [each.terminal for each in said if each.msg_id == LOCATION and each.has_fix]
        credit(self.tickets, np.array(good, np.int64))

    def run(self, until: int) -> "Fleet":
        """Let time pass, tick by tick; trucks that keep talking do."""
        while self.now < until:
            self.now += 1
            for truck in self.trucks:
                if truck.every and truck.habit and self.now % truck.every == 0:
                    self.hear(replace(truck.habit, at=self.now))
            self.tick(self.now)
        return self

    def stall(self, until: int) -> "Fleet":
        """Let time pass without a tick: our own outage."""
        self.now = until
        self.tick(until)
        return self

    def restart(self) -> "Fleet":
        """A gateway starts."""
        interrupted(self.silence, EPOCH_US + self.now * SECOND)
        return self

    def tick(self, at: int) -> Decisions:
        verdict = judge(self.silence, EPOCH_US + at * SECOND, self.allowed)
        decided = decide(self.tickets, self.silence, verdict, (self.allowed, self.policy))
        self.decisions.append(decided)
        for opened in decided.opened:
            self._tell(f"ticket {opened.terminal}", opened.reason)
        for closed in decided.closed:
            self._tell(f"closed {closed.terminal}", closed.proof)
        for incident in decided.incidents:
            self._tell(_name(incident), incident.reason)
        return decided

    def _tell(self, what: str, reason: Reason) -> None:
        assert sentence(reason)
        self.reasons.append(reason)
        self.story.append(f"{self.now} {what} {reason.code}")

    @property
    def silent(self) -> list[int]:
        found: list[int] = np.flatnonzero(self.silence.is_silent).tolist()
        return found


def _name(incident: IncidentOpened | IncidentClosed) -> str:
    if isinstance(incident, IncidentOpened):
        return f"incident {len(incident.terminals)}"
    return f"over {len(incident.survivors)}/{incident.terminals}"


@dataclass
class Truck:
    """One terminal of a fleet."""

    fleet: Fleet
    terminal: int
    every: int = 0
    habit: Said | None = None

    def at(self, at: int) -> "Truck":
        """Let time pass until then."""
        self.fleet.run(until=at)
        return self

    def says(self, **what: Any) -> "Truck":
        self.habit = Said(self.terminal, self.fleet.now, **what)
        self.fleet.hear(self.habit)
        return self

    def drives(self, **more: Any) -> "Truck":
        return self.says(speed_kmh=60, **more)

    def parks(self, **more: Any) -> "Truck":
        return self.says(status=0, **more)

    def sleeps(self, **more: Any) -> "Truck":
        return self.says(status=0, io_state=0b01, **more)

    def rests(self) -> "Truck":
        return self.says(status=OUT_OF_SERVICE | ACC_ON)

    def beats(self, **more: Any) -> "Truck":
        return self.says(msg_id=HEARTBEAT, **more)

    def speaks_without_code(self) -> "Truck":
        """Or somebody else does in its name: nobody can tell."""
        self.fleet.silence.without_code_us[self.terminal] = EPOCH_US + self.fleet.now * SECOND
        return self

    def deregisters(self) -> "Truck":
        return self.says(msg_id=DEREGISTER)

    def keeps_on(self, every: int = 10) -> "Truck":
        """Say the last thing again and again."""
        self.every = every
        return self

    def stops(self) -> "Truck":
        self.every = 0
        return self

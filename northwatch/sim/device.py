"""The terminal's side of the standard, without I/O: register, report, keep what is not answered, come back.

What a terminal owes (JT/T 808-2013 §6.1.2 and §5.3): every message is sent again when its answer is late,
after T(n+1) = T(n) × (n+1); when all attempts are spent the link is down and is built anew; location reports
without an answer are kept and sent after recovery, those with key alarms before anything else. An answer is
what releases a report, and nothing else does.

Times are seconds since 1970 of the caller's clock.
"""

import random
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from northwatch.sim.story import Act
from northwatch.sim.vehicle import Vehicle
from protocol.connection import Received, Terminal
from protocol.edition import Edition
from protocol.message import PLATFORM_REPLY
from protocol.messages import Undecodable
from protocol.messages.location import location

REGISTER, REGISTER_REPLY, AUTHENTICATE, LOCATION, BATCH, DEREGISTER = (
    0x0100,
    0x8100,
    0x0102,
    0x0200,
    0x0704,
    0x0003,
)

ANSWER_TIMEOUT_S = 10.0
"""Parameter 0x0002: wait so long for the first answer."""
ATTEMPTS = 3
"""Parameter 0x0003 and the first attempt."""
HEARTBEAT_S = 30.0
"""Parameter 0x0001: say something at least so often."""
FIRST_RECONNECT_S, LONGEST_RECONNECT_S = 1.0, 30.0
REFUSED_S = 30.0
"""After a refused registration, ask again so much later."""
MAX_WAITING = 64
"""Messages sent ahead of their answers; beyond that reports are kept for later."""
MAX_KEPT = 10_000
BATCH_REPORTS = 14
"""With our items that many reports fit the 1023 bytes of one 0x0704."""

EMERGENCY, OVERSPEED, ANTENNA_OPEN, POWER_LOST = 1 << 0, 1 << 1, 1 << 5, 1 << 8
ACC_ON, POSITIONED, GPS, BEIDOU, MOVING = 1 << 0, 1 << 1, 1 << 18, 1 << 19, 1 << 22
SLEEPS = 1 << 1
"""Item 0x2A: bit 0 deep sleep, bit 1 sleep."""
LOW_BEAM, BRAKE = 1 << 0, 1 << 4
"""Item 0x25."""


class Phase(StrEnum):
    """How far the link has come."""

    DOWN = "down"
    REGISTERING = "registering"
    AUTHENTICATING = "authenticating"
    READY = "ready"


@dataclass(frozen=True)
class Plate:
    """号牌: number and colour by JT/T 415-2006 §5.4.12, and the GB/T 2260 codes of where it was issued."""

    number: str
    color: int
    province_id: int
    city_id: int


@dataclass
class Unanswered:
    """A message that waits for its answer."""

    wire: bytes
    reports: list[dict[str, Any]]
    due: float
    attempt: int = 1
    wait_s: float = ANSWER_TIMEOUT_S

    def again(self, now: float) -> None:
        """Note another attempt: T(n+1) = T(n) × (n+1)."""
        self.attempt += 1
        self.wait_s *= self.attempt
        self.due = now + self.wait_s


@dataclass
class Tally:
    """What a fleet has done, shared by its devices."""

    reports: int = 0
    answered: int = 0
    resent: int = 0
    links: int = 0
    refused: int = 0


@dataclass
class Device:
    """One terminal in its vehicle.

    The owner of the socket calls `connected`, `received`, `disconnected` and, twice a second or so, `tick`;
    it writes what `outgoing` gives, opens a link when `wants_link` says so and closes it on `hangs_up`.
    """

    identity: str
    edition: Edition
    plate: Plate
    vehicle: Vehicle
    chance: random.Random = field(repr=False)
    tally: Tally = field(repr=False)
    report_s: float = 3.0
    """Interval while the ignition is on; five times that with the ignition off, ten times asleep."""

    phase: Phase = Phase.DOWN
    hangs_up: bool = False
    auth_code: str | None = None
    kept: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=MAX_KEPT))
    """Reports that were not answered, or not even sent."""
    until: dict[Act, float] = field(default_factory=dict)
    """When each act that lasts is over."""
    pressed: bool = False
    """The emergency button was pressed and no report that says so was answered."""

    _link: Terminal | None = None
    _out: bytearray = field(default_factory=bytearray)
    _waiting: dict[int, Unanswered] = field(default_factory=dict)
    _ticked_at: float = 0.0
    _report_at: float = 0.0
    _spoke_at: float = 0.0
    _connect_at: float = 0.0
    _reconnect_s: float = FIRST_RECONNECT_S
    _alarms_said: int = 0
    _goes_dark: bool = False
    _last_fix: Any = None

    # What happens to it

    def suffer(self, act: Act, lasts_s: float, now: float) -> None:
        """Let `act` begin."""
        if act is Act.EMERGENCY:
            self.pressed = True
            self._report_at = now
        elif act is Act.SPEEDING:
            self.vehicle.hurry_until = now + lasts_s
        else:
            self.until[act] = now + lasts_s
        if act in (Act.PARKING, Act.SLEEP, Act.DEREGISTER):
            self.vehicle.rest_until = now + lasts_s
        if act is Act.POWER_LOSS:
            self._report_at = now
            self._goes_dark = True
        if act is Act.DEREGISTER and self.phase is Phase.READY:
            self._say(DEREGISTER, {}, now)
            self.auth_code = None
        if act is Act.GAP:
            self.hangs_up = True

    def _suffers(self, act: Act, now: float) -> bool:
        return self.until.get(act, 0.0) > now

    def is_dead(self, now: float) -> bool:
        """It can neither measure nor speak."""
        return self._suffers(Act.MUTE, now) or (self._suffers(Act.POWER_LOSS, now) and not self._goes_dark)

    # Its link

    def wants_link(self, now: float) -> bool:
        """A socket should be opened now."""
        out_of_reach = self._suffers(Act.GAP, now) or self._suffers(Act.DEREGISTER, now)
        return (
            self.phase is Phase.DOWN
            and now >= self._connect_at
            and not out_of_reach
            and not self.is_dead(now)
        )

    def connected(self, now: float) -> None:
        """The socket is open: authenticate with the code we have, or register."""
        self.hangs_up = False
        self.tally.links += 1
        self._link = Terminal(self.identity, self.edition)
        if self.auth_code is None:
            self._register(now)
        else:
            self._authenticate(now)

    def disconnected(self, now: float) -> None:
        """The socket is gone, or could not be opened."""
        self.phase, self._link, self.hangs_up = Phase.DOWN, None, False
        self._out.clear()
        unanswered = [report for sent in self._waiting.values() for report in sent.reports]
        self._waiting.clear()
        self.kept = deque(sorted([*unanswered, *self.kept], key=lambda report: report["time"]), MAX_KEPT)
        self._connect_at = now + self._reconnect_s * self.chance.uniform(0.8, 1.2)
        self._reconnect_s = min(2 * self._reconnect_s, LONGEST_RECONNECT_S)

    def received(self, data: bytes, now: float) -> None:
        """Bytes came. A terminal without power does not read them."""
        if self._link is None or self.is_dead(now):
            return
        for event in self._link.receive(data, now):
            if isinstance(event, Received):
                self._hear(event, now)

    def outgoing(self) -> bytes:
        """Give, once, what is to be written."""
        data = bytes(self._out)
        self._out.clear()
        return data

    # Its day

    def tick(self, now: float) -> None:
        """Drive on, report, say again what was not answered."""
        if self._ticked_at:
            self.vehicle.drive(now, now - self._ticked_at)
        else:
            self._report_at = now + self.chance.uniform(0, self.report_s)  # not all in the same second
        self._ticked_at = now
        if self.is_dead(now):
            # What hung starts anew when it is over, and waits for no answers from before.
            self.hangs_up = self.hangs_up or 0 < self.until.get(Act.MUTE, 0.0) - now < 1.0
            return
        if now >= self._report_at:
            self._report_at = now + self._interval_s(now)
            self._report(now)
        elif self._alarms(now) != self._alarms_said:
            self._report(now)  # a beginning and an end are said at once
        if self.phase is not Phase.DOWN:
            self._say_again(now)
        if self.phase is Phase.READY and now - self._spoke_at >= HEARTBEAT_S:
            self._say(0x0002, {}, now)

    def _interval_s(self, now: float) -> float:
        if self._suffers(Act.SLEEP, now) and self.vehicle.rests(now):
            return 10 * self.report_s
        return 5 * self.report_s if self.vehicle.rests(now) else self.report_s

    def _alarms(self, now: float) -> int:
        return (
            (EMERGENCY if self.pressed else 0)
            | (OVERSPEED if self.vehicle.is_speeding else 0)
            | (ANTENNA_OPEN if self._suffers(Act.ANTENNA, now) else 0)
            | (POWER_LOST if self._suffers(Act.POWER_LOSS, now) else 0)
        )

    def _report(self, now: float) -> None:
        if self.auth_code is None:
            return  # not registered: nobody asked for reports
        report = self._measure(now)
        self._alarms_said = report["alarm"]
        self.tally.reports += 1
        if self.phase is Phase.READY and len(self._waiting) < MAX_WAITING:
            self._say(LOCATION, report, now, [report])
        else:
            self.kept.append(report)
        if self._goes_dark:  # that was the last of the capacitor
            self._goes_dark = False
            self.hangs_up = True

    def _measure(self, now: float) -> dict[str, Any]:
        vehicle, is_2011 = self.vehicle, self.edition is Edition.E2011
        has_fix = not self._suffers(Act.ANTENNA, now)
        if has_fix or self._last_fix is None:
            self._last_fix = vehicle.place
        moves = vehicle.speed_kmh > 0
        status = 0 if vehicle.rests(now) else ACC_ON
        status |= POSITIONED if has_fix else 0
        status |= 0 if is_2011 or not has_fix else GPS | BEIDOU
        status |= MOVING if moves and self.edition is Edition.E2019 else 0
        return location(
            self._last_fix.lat,
            self._last_fix.lon,
            datetime.fromtimestamp(int(now), UTC),
            status=status,
            alarm=self._alarms(now),
            altitude_m=40 + int(30 * (1 + self._last_fix.lat % 1)),
            speed_kmh=round(vehicle.speed_kmh, 1) if has_fix else 0.0,
            direction_deg=self._last_fix.heading_deg,
            extras=self._items(now, has_fix),
        )

    def _items(self, now: float, has_fix: bool) -> dict[str, Any]:
        vehicle = self.vehicle
        items: dict[str, Any] = {
            "0x01": round(vehicle.mileage_km * 10),
            "0x02": 2000 + round(vehicle.mileage_km * 10) % 1500,
            "0x03": round(vehicle.speed_kmh * 10),
        }
        if vehicle.is_speeding:
            items["0x11"] = {"area_type": 0}
        if self.edition is not Edition.E2011:
            sleeps = self._suffers(Act.SLEEP, now) and vehicle.rests(now)
            items["0x25"] = LOW_BEAM | (BRAKE if now < vehicle.rest_until and vehicle.speed_kmh > 0 else 0)
            items["0x2A"] = SLEEPS if sleeps else 0
            items["0x30"] = self.chance.randint(18, 31)
            items["0x31"] = self.chance.randint(9, 19) if has_fix else 0
        return items

    # What it says and hears

    def _say(self, msg_id: int, fields: Any, now: float, reports: list[dict[str, Any]] | None = None) -> None:
        assert self._link is not None
        serial = self._link.say(msg_id, fields, now)
        wire = self._link.data_to_send()
        self._out += wire
        self._waiting[serial] = Unanswered(wire, reports or [], now + ANSWER_TIMEOUT_S)
        self._spoke_at = now

    def _say_again(self, now: float) -> None:
        for sent in self._waiting.values():
            if now < sent.due:
                continue
            if sent.attempt >= ATTEMPTS:
                self.hangs_up = True  # §5.3: attempts are spent, the link is down
                return
            sent.again(now)
            self._out += sent.wire
            self.tally.resent += 1

    def _register(self, now: float) -> None:
        assert self._link is not None
        self.phase = Phase.REGISTERING
        number = int(self.identity[-7:])
        fields = {
            "province_id": self.plate.province_id,
            "city_id": self.plate.city_id,
            "manufacturer_id": "NWSIM",
            "terminal_model": f"SIM-{self.edition.value[2:]}",
            "terminal_id": f"{number:07}",
            "plate_color": self.plate.color,
            "plate_number": self.plate.number,
        }
        self._say(REGISTER, fields, now)

    def _authenticate(self, now: float) -> None:
        self.phase = Phase.AUTHENTICATING
        fields = {
            "auth_code": self.auth_code,
            "imei": f"86{self.identity:0>13}"[-15:],
            "software_version": "1.0",
        }
        self._say(AUTHENTICATE, fields, now)

    def _hear(self, event: Received, now: float) -> None:
        fields = event.fields()
        if event.answers is None:
            if event.frame.msg_id not in (PLATFORM_REPLY, REGISTER_REPLY) and self._link is not None:
                self._link.reply(event.frame)  # a command: done
                self._out += self._link.data_to_send()
            return
        sent = self._waiting.pop(event.answers.serial, None)
        if sent is None or isinstance(fields, Undecodable):
            return
        self.tally.answered += len(sent.reports)
        if any(report["alarm"] & EMERGENCY for report in sent.reports):
            self.pressed = False
        if event.answers.msg_id == REGISTER:
            self._registered(fields, now)
        elif event.answers.msg_id == AUTHENTICATE:
            self._authenticated(fields["result"], now)
        elif event.answers.msg_id == DEREGISTER:
            self.hangs_up = True

    def _registered(self, fields: dict[str, Any], now: float) -> None:
        if fields["result"] == 0:
            self.auth_code = fields["auth_code"]
            self._authenticate(now)
        else:
            self._refused(now)

    def _authenticated(self, result: int, now: float) -> None:
        if result == 0:
            self.phase = Phase.READY
            self._reconnect_s = FIRST_RECONNECT_S
            self._catch_up(now)
        else:
            self.auth_code = None
            self._refused(now)

    def _refused(self, now: float) -> None:
        self.tally.refused += 1
        self.hangs_up = True
        self._reconnect_s = REFUSED_S

    def _catch_up(self, now: float) -> None:
        """Send what was kept: key alarms first and one by one, the rest as 0x0704 where the edition has
        it."""
        kept, self.kept = list(self.kept), deque(maxlen=MAX_KEPT)
        key = [report for report in kept if report["alarm"] & EMERGENCY]
        others = [report for report in kept if not report["alarm"] & EMERGENCY]
        size = 1 if self.edition is Edition.E2011 else BATCH_REPORTS
        for report in key:
            self._say(LOCATION, report, now, [report])
        for at in range(0, len(others), size):
            batch = others[at : at + size]
            if size == 1:
                self._say(LOCATION, batch[0], now, batch)
            else:
                self._say(BATCH, {"type": 1, "items": batch}, now, batch)

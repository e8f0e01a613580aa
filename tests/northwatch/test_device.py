"""A simulated terminal keeps the standard's contract, played in memory against the platform's side."""

from collections.abc import Callable
from typing import Any

import pytest

from northwatch.sim.device import (
    ACC_ON,
    ANTENNA_OPEN,
    ATTEMPTS,
    EMERGENCY,
    OVERSPEED,
    POSITIONED,
    POWER_LOST,
    Device,
    Phase,
    Tally,
)
from northwatch.sim.fleet import Plan, device
from northwatch.sim.story import Act
from protocol.connection import Connection, Received, Role, address_of
from protocol.edition import Edition
from protocol.messages import Undecodable

START = 1_760_000_000.0


class Platform:
    """The other end of the link: hears everything, answers what `answers` allows."""

    def __init__(self) -> None:
        self.link = Connection(Role.PLATFORM)
        self.heard: list[Received] = []
        self.answers: Callable[[Received], bool] = lambda event: True

    def hear(self, data: bytes, now: float) -> bytes:
        for event in self.link.receive(data, now):
            assert isinstance(event, Received)
            assert not isinstance(event.fields(), Undecodable)
            self.heard.append(event)
            if not self.answers(event):
                continue
            if event.frame.msg_id == 0x0100:
                fields = {"ack_serial": event.frame.serial, "result": 0, "auth_code": "c0de"}
                self.link.send(0x8100, fields, address_of(event.frame), now)
            elif event.frame.msg_id != 0x0001:
                self.link.reply(event.frame)
        return self.link.data_to_send()

    def bodies(self, msg_id: int) -> list[dict[str, Any]]:
        found = [event.fields() for event in self.heard if event.frame.msg_id == msg_id]
        return [fields for fields in found if not isinstance(fields, Undecodable)]

    @property
    def reports(self) -> list[dict[str, Any]]:
        """Every location report in order of arrival, those of batches included."""
        found: list[dict[str, Any]] = []
        for event in self.heard:
            fields = event.fields()
            assert not isinstance(fields, Undecodable)
            found += [fields] if event.frame.msg_id == 0x0200 else fields.get("items", [])
        return found


class World:
    """One device, one platform, a clock, and a network that can be cut."""

    def __init__(self, number: int = 0) -> None:
        self.tally = Tally()
        self.device: Device = device(number, Plan(terminals=1, report_s=3.0), self.tally)
        self.now = START
        self.up = True
        self.platform = Platform()
        self.links: list[Platform] = []

    def live(self, seconds: float) -> None:
        for _ in range(int(seconds * 2)):
            self.now += 0.5
            self.device.tick(self.now)
            if self.device.wants_link(self.now):
                self._connect()
            self._exchange()

    def cut(self) -> None:
        """The link breaks."""
        self.up = False
        self.device.disconnected(self.now)

    def _connect(self) -> None:
        if not self.up:
            self.device.disconnected(self.now)
            return
        previous, self.platform = self.platform, Platform()
        self.platform.answers = previous.answers
        self.links.append(self.platform)
        self.device.connected(self.now)

    def _exchange(self) -> None:
        while data := self.device.outgoing():
            answer = self.platform.hear(data, self.now)
            if answer:
                self.device.received(answer, self.now)
        if self.device.hangs_up and self.device.phase is not Phase.DOWN:
            self.device.disconnected(self.now)

    @property
    def heard(self) -> list[Received]:
        return [event for link in self.links for event in link.heard]

    @property
    def reports(self) -> list[dict[str, Any]]:
        return [report for link in self.links for report in link.reports]


@pytest.fixture(params=[0, 1, 3], ids=["2013", "2019", "2011"])
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


def test_it_registers_authenticates_and_reports(world: World) -> None:
    world.live(60)
    ids = [event.frame.msg_id for event in world.heard]
    assert ids[:2] == [0x0100, 0x0102]
    assert ids.count(0x0100) == ids.count(0x0102) == 1
    assert 18 <= ids.count(0x0200) <= 22
    assert world.device.phase is Phase.READY
    assert world.tally.answered == world.tally.reports
    (registration,) = world.platform.bodies(0x0100)
    assert registration["plate_number"] == world.device.plate.number
    assert {event.edition for event in world.heard} == {world.device.edition}
    for report in world.reports:
        assert report["status"] & ACC_ON and report["status"] & POSITIONED
        assert 38 < report["latitude"] < 44 and 118 < report["longitude"] < 126


def test_the_emergency_bit_stands_until_a_report_with_it_is_answered(world: World) -> None:
    world.live(10)
    world.platform.answers = lambda event: event.frame.msg_id != 0x0200
    world.device.suffer(Act.EMERGENCY, 0, world.now)
    world.live(7)
    with_it = [report for report in world.reports if report["alarm"] & EMERGENCY]
    assert len(with_it) >= 2
    world.platform.answers = lambda event: True
    world.live(20)
    assert not world.device.pressed
    assert not world.reports[-1]["alarm"] & EMERGENCY


def test_the_emergency_report_does_not_wait_for_its_turn(world: World) -> None:
    world.live(20)
    before = len(world.reports)
    world.device.suffer(Act.EMERGENCY, 0, world.now)
    world.live(0.5)
    assert [report["alarm"] & EMERGENCY for report in world.reports[before:]] == [EMERGENCY]


def test_unanswered_messages_are_said_again_unchanged_and_then_the_link_is_down(world: World) -> None:
    world.live(10)
    first_link = world.platform
    heard = len(first_link.heard)
    world.platform.answers = lambda event: event.frame.msg_id != 0x0200
    world.live(100)
    assert len(world.links) >= 2
    again = [event.frame for event in first_link.heard[heard:]]
    assert again.count(again[0]) == ATTEMPTS


def test_what_was_not_answered_comes_after_the_gap(world: World) -> None:
    world.live(20)
    known = len(world.reports)
    world.platform.answers = lambda event: event.frame.msg_id != 0x0200
    world.live(5)
    world.cut()
    world.live(30)
    world.up = True
    world.platform.answers = lambda event: True
    world.live(60)
    assert not world.device.kept
    assert world.tally.answered == world.tally.reports
    times = {report["time"] for report in world.reports[known:]}
    assert len(times) >= (5 + 30) / 3
    batches = world.platform.bodies(0x0704)
    if world.device.edition is Edition.E2011:
        assert not batches  # the edition has none: late 0x0200 instead
    else:
        assert batches and all(batch["type"] == 1 for batch in batches)


def test_a_key_alarm_comes_before_everything_else(world: World) -> None:
    world.live(20)
    world.cut()
    world.live(5)
    world.device.suffer(Act.EMERGENCY, 0, world.now)
    world.live(20)
    world.up = True
    world.live(60)
    assert world.platform.reports[0]["alarm"] & EMERGENCY
    assert not world.device.pressed


def test_power_loss_is_said_once_and_then_nothing_until_it_is_back(world: World) -> None:
    world.live(20)
    before = len(world.heard)
    world.device.suffer(Act.POWER_LOSS, 60, world.now)
    world.live(50)
    after = world.reports[-1]
    assert len(world.heard) == before + 1
    assert after["alarm"] & POWER_LOST
    world.live(60)
    assert not world.reports[-1]["alarm"] & POWER_LOST
    assert world.device.phase is Phase.READY


def test_a_muted_terminal_neither_speaks_nor_measures(world: World) -> None:
    world.live(20)
    before = len(world.heard)
    world.device.suffer(Act.MUTE, 70, world.now)
    world.live(65)
    assert len(world.heard) == before
    assert world.device.phase is Phase.READY  # the link stays open
    world.live(60)
    assert world.device.phase is Phase.READY
    assert len(world.heard) > before


def test_parking_sleeping_and_driving_on(world: World) -> None:
    world.live(20)
    world.device.suffer(Act.SLEEP, 200, world.now)
    world.live(150)
    parked = world.reports[-1]
    assert not parked["status"] & ACC_ON
    assert parked["speed_kmh"] == 0
    if world.device.edition is not Edition.E2011:
        assert parked["extras"]["0x2A"] == 2
    assert any(event.frame.msg_id == 0x0002 for event in world.heard) or world.device.report_s * 10 <= 30
    world.live(100)
    assert world.reports[-1]["status"] & ACC_ON


def test_a_cut_antenna_reports_no_fix(world: World) -> None:
    world.live(20)
    world.device.suffer(Act.ANTENNA, 30, world.now)
    world.live(20)
    assert world.reports[-1]["alarm"] & ANTENNA_OPEN
    assert not world.reports[-1]["status"] & POSITIONED
    world.live(30)
    assert not world.reports[-1]["alarm"] & ANTENNA_OPEN


def test_speeding_is_latched_from_its_beginning_to_its_end(world: World) -> None:
    world.live(20)
    world.device.suffer(Act.SPEEDING, 40, world.now)
    world.live(90)
    bits = "".join("1" if report["alarm"] & OVERSPEED else "0" for report in world.reports)
    assert bits.strip("0").strip("1") == ""
    assert "1" in bits and bits[-1] == "0"


def test_deregistration_ends_the_link_and_work_begins_with_a_registration(world: World) -> None:
    world.live(20)
    world.device.suffer(Act.DEREGISTER, 40, world.now)
    world.live(30)
    assert world.heard[-1].frame.msg_id == 0x0003
    assert world.device.phase is Phase.DOWN
    world.live(60)
    assert [event.frame.msg_id for event in world.platform.heard[:2]] == [0x0100, 0x0102]


def test_a_refused_code_leads_to_a_new_registration(world: World) -> None:
    world.device.auth_code = "old"
    world.platform.answers = lambda event: False
    world.live(1)
    link = world.platform
    assert link.heard[0].frame.msg_id == 0x0102
    refusal = {"ack_serial": link.heard[0].frame.serial, "ack_msg_id": 0x0102, "result": 1}
    link.link.send(0x8001, refusal, address_of(link.heard[0].frame))
    world.device.received(link.link.data_to_send(), world.now)
    link.answers = lambda event: True
    world.live(60)
    assert world.platform.heard[0].frame.msg_id == 0x0100
    assert world.device.phase is Phase.READY


def test_commands_get_the_terminals_general_reply(world: World) -> None:
    world.live(10)
    address = address_of(world.platform.heard[-1].frame)
    serial = world.platform.link.send(0x8104, b"", address)
    world.device.received(world.platform.link.data_to_send(), world.now)
    world.live(1)
    replies = world.platform.bodies(0x0001)
    assert replies == [{"ack_serial": serial, "ack_msg_id": 0x8104, "result": 0}]


def test_the_same_seed_makes_the_same_device() -> None:
    one, other = World(5), World(5)
    one.live(100)
    other.live(100)
    assert one.reports == other.reports
    assert one.device.identity == other.device.identity

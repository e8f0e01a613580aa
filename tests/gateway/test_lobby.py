"""New terminals come within quotas; accepted ones never wait behind them."""

import asyncio
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import lobby as lobby_module
from gateway.addresses import AddressLimits, Bucket, Place
from gateway.fleet import Enrolment, Fleet, FleetData, FleetNews, FleetTerminal
from gateway.links import Link
from gateway.lobby import HOUR_S, Lobby, LobbyLimits
from gateway.refusals import MINUTE_S, MOST_NAMED, Refusals
from gateway.server import Gateway
from protocol.connection import Terminal
from protocol.edition import Edition
from store.log import LogWriter
from store.records import Refused, SessionOpened
from tests.gateway.device import Device, logged, report, running, until

NOBODY = AddressLimits(exempt=())
LIMITS = LobbyLimits(per_link=3, per_address_hour=5, most=8)


def link_of(address: bytes) -> Link:
    link = Link(None)  # type: ignore[arg-type]
    link.place = Place(address, Bucket(0.0, 0.0))
    return link


def test_a_link_an_address_and_all_have_quotas() -> None:
    lobby, numbers = Lobby(LIMITS, Fleet(Path("no copy"))), count(1)
    links = [link_of(address) for address in (b"a", b"a", b"b", b"c", b"")]

    def come(link: Link, now: float = 0.0) -> str:
        return lobby.objection(f"{next(numbers):X}", link, now, 0)

    assert [come(links[0]) for _ in range(4)] == ["", "", "", "lobby_link"]
    assert lobby.objection("1", links[0], 0.0, 0) == "", "who was let in is not new"
    assert [come(links[1]) for _ in range(3)] == ["", "", "lobby_address"]
    assert come(links[1], HOUR_S - 1) == "lobby_address"
    assert come(links[1], HOUR_S) == "", "an hour later"
    assert [come(links[2]) for _ in range(3)] == ["", "", "lobby_full"]
    assert come(links[4]) == "lobby_full", "also where no quota of an address applies"
    assert lobby.waiting == LIMITS.most


def test_a_link_that_stays_has_its_quota_each_hour() -> None:
    lobby, link, numbers = Lobby(LobbyLimits(per_link=2), Fleet(Path("no copy"))), link_of(b"a"), count(1)

    def come(now: float) -> str:
        return lobby.objection(f"{next(numbers):X}", link, now, 0)

    begin = 10 * HOUR_S
    assert [come(begin), come(begin + 1), come(begin + 2)] == ["", "", "lobby_link"]
    assert come(begin + HOUR_S - 1) == "lobby_link", "the hour is that of the first"
    assert [come(begin + HOUR_S) for _ in range(3)] == ["", "", "lobby_link"]
    assert come(begin + 2 * HOUR_S) == ""


def test_an_enrolment_window_lets_so_many_more_come() -> None:
    fleet = Fleet(Path("no copy"))
    lobby, link, numbers = Lobby(LIMITS, fleet), link_of(b"a"), count(1)
    fleet.replace(FleetData(enrolment=Enrolment(until_us=1_000, room=20)))

    def come(now_us: int) -> str:
        return lobby.objection(f"{next(numbers):X}", link, 0.0, now_us)

    assert [come(999) for _ in range(28)] == [""] * 28
    assert come(999) == "lobby_full" and come(1_000) == "lobby_full"
    fleet.replace(FleetData({f"{number:X}": FleetTerminal(known=True) for number in range(1, 29)}))
    lobby.refreshed()
    assert lobby.waiting == 0, "they are accepted"
    assert come(999) == "lobby_link", "the window is closed"


def test_entries_count_until_they_are_accepted_blocked_or_forgotten() -> None:
    fleet = Fleet(Path("no copy"))
    states = {
        "1": FleetTerminal(),
        "2": FleetTerminal(registered=True),
        "3": FleetTerminal(known=True),
        "4": FleetTerminal(blocked=True),
        "5": FleetTerminal(forgotten=True, registered=True),
        "6": FleetTerminal(known=True, forgotten=True),
    }
    fleet.replace(FleetData(states))
    lobby = Lobby(LobbyLimits(most=3), fleet)
    assert lobby.waiting == 2, "whatever they have authenticated"
    assert lobby.objection("6", link_of(b"a"), 0.0, 0) == "" and lobby.waiting == 2
    assert lobby.objection("5", link_of(b"a"), 0.0, 0) == "" and lobby.waiting == 3, "it is new again"
    assert lobby.objection("7", link_of(b"a"), 0.0, 0) == "lobby_full"
    assert lobby.objection("1", link_of(b"a"), 0.0, 0) == "", "it is there"


@given(st.data())
def test_the_count_is_what_the_copy_says(data: st.DataObject) -> None:
    """Whatever is decided, in however many steps."""
    fleet = Fleet(Path("no copy"))
    flags = st.booleans()
    terminal = st.builds(
        lambda known, blocked, forgotten: FleetTerminal(known, blocked, forgotten=forgotten),
        flags,
        flags,
        flags,
    )
    terminals = st.dictionaries(st.sampled_from("12345"), terminal, max_size=4)
    now: dict[str, FleetTerminal] = {}
    for is_whole, step in data.draw(st.lists(st.tuples(flags, terminals), max_size=6)):
        fleet._take(FleetNews(step, {}, is_whole=is_whole))
        now = step if is_whole else now | step
        assert fleet.in_lobby == sum(
            not (each.known or each.blocked or each.forgotten) for each in now.values()
        )


def test_the_hours_of_only_so_many_addresses_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lobby_module, "REMEMBERED", 3)
    lobby = Lobby(LobbyLimits(), Fleet(Path("no copy")))
    for number in range(10):
        assert lobby.objection(f"{number + 1:X}", link_of(bytes([number])), 0.0, 0) == ""
    assert list(lobby._hours) == [bytes([number]) for number in (7, 8, 9)]


def test_refusals_are_folded_and_only_some_are_named() -> None:
    refusals = Refusals()
    for number in range(MOST_NAMED + 50):
        for _ in range(3):
            refusals.note(f"{number:X}", "lobby_full", f"peer {number}", 10.0)
    assert refusals.take(10.0 + MINUTE_S - 1) == []
    folded = refusals.take(10.0 + MINUTE_S)
    assert len(folded) == MOST_NAMED + 1 and refusals.take(1e9) == []
    assert folded[0] == Refused("0", "lobby_full", 3, "peer 0")
    assert folded[-1] == Refused("", "lobby_full", 150, f"peer {MOST_NAMED + 49}")
    assert refusals.total == {"lobby_full": 3 * (MOST_NAMED + 50)}


async def speak_as(gateway: Gateway, numbers: range) -> dict[int, int | None]:
    """Register as each over one link; give what is answered, by number."""
    device = await Device.connect(gateway, "1")
    answers: dict[int, int | None] = {}
    for number in numbers:
        other = Device(Terminal(f"1390{number:07}", Edition.E2013), device.reader, device.writer)
        other.terminal.register("", 0)
        other.flush()
        answers[number] = (await other.fields())["result"]
    return answers


@pytest.mark.parametrize("policy", ["open", "known"])
async def test_beyond_its_quota_nobody_is_let_in_and_nothing_written(tmp_path: Path, policy: str) -> None:
    entered = {"13909999999": FleetTerminal(known=True)}
    settings = {"lobby": LIMITS, "address_limits": NOBODY, "policy": policy}
    async with running(tmp_path, fleet_source=lambda _: FleetNews(entered, {}), **settings) as gateway:
        await until(lambda: len(gateway.fleet))
        may = 0 if policy == "open" else 4
        assert list((await speak_as(gateway, range(10))).values()) == [may] * 3 + [4] * 7
        assert list((await speak_as(gateway, range(100, 103))).values()) == [may] * 2 + [4]
        known = await Device.connect(gateway, "13909999999")
        await known.sign_in("", 0)
        assert await known.result(known.terminal.report(report())) == 0, "who was entered does not wait"
        assert gateway._lobby.waiting == LIMITS.per_address_hour
    log = logged(tmp_path / "log")
    opened = {event.identity for event in log.of(SessionOpened)}
    assert len(opened - entered.keys()) == LIMITS.per_address_hour
    assert len(log.frames) == 5 + 3
    refused = [(event.identity, event.reason, event.frames) for event in log.of(Refused)]
    assert refused == [
        *((f"1390{number:07}", "lobby_link", 1) for number in range(3, 10)),
        ("13900000102", "lobby_address", 1),
    ]


async def test_invented_numbers_are_bounded_in_all(tmp_path: Path) -> None:
    """From however many links and addresses, and after a restart too."""
    limits = LobbyLimits(per_link=1_000, per_address_hour=1_000, most=50)
    for _ in range(2):
        async with running(tmp_path, lobby=limits, fleet_refresh_s=0.05) as gateway:
            for begin in range(0, 200, 100):
                answers = await speak_as(gateway, range(begin, begin + 100))
                assert list(answers.values()).count(0) == (50 if begin == 0 else 0)
            assert gateway.health()["lobby"] == {"waiting": 50, "most": 50, "is_full": True}
    log = logged(tmp_path / "log")
    assert len({event.identity for event in log.of(SessionOpened)}) == 50
    named = [event for event in log.of(Refused) if event.identity]
    assert len(named) == 2 * MOST_NAMED and sum(event.frames for event in log.of(Refused)) == 2 * 150


async def test_a_fleet_behind_one_address_enrols_within_its_window(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    many = 10_000 if request.config.getoption("--long") else 300
    fleet = [FleetNews({}, {})]
    limits = LobbyLimits(per_link=10, per_address_hour=20, most=100)
    addresses = AddressLimits(exempt=(), connects_per_s=1e6)
    settings = {"lobby": limits, "address_limits": addresses, "fleet_refresh_s": 0.01}
    async with running(tmp_path, fleet_source=lambda _: fleet[-1], **settings) as gateway:
        assert list((await speak_as(gateway, range(30))).values()).count(0) == limits.per_link
        fleet.append(FleetNews({}, {}, enrolment=Enrolment(2**62, many)))
        await until(lambda: gateway.fleet.enrolment.room)
        for begin in range(0, many, 100):
            devices = [await Device.connect(gateway, f"1390{n:07}") for n in range(begin, begin + 100)]
            await asyncio.gather(*(device.sign_in("", 0) for device in devices))
            for device in devices:
                await device.close()
    assert len({event.identity for event in logged(tmp_path / "log").of(SessionOpened)}) == many


async def test_processes_share_the_lobby(tmp_path: Path) -> None:
    logs = [LogWriter(tmp_path / "log" / str(slot)) for slot in range(2)]
    limits = LobbyLimits(most=30)
    async with (
        running(tmp_path, logs[0], slot=0, reuse_port=True, lobby=limits) as first,
        running(tmp_path, logs[1], slot=1, reuse_port=True, lobby=limits) as second,
    ):
        assert list((await speak_as(first, range(20))).values()) == [0] * 20
        await until(lambda: second._lobby.waiting == 20)
        assert list((await speak_as(second, range(40))).values()) == [0] * 30 + [4] * 10
        await until(lambda: first._lobby.waiting == 30)
    for log in logs:
        log.close()


async def test_a_full_house_has_room_for_who_proves_itself(tmp_path: Path) -> None:
    async with running(tmp_path, max_connections=20) as gateway:
        members = [await Device.connect(gateway, f"100{number}") for number in range(5)]
        for member in members:
            await member.sign_in("", 0)
        guests = [await Device.connect(gateway, f"200{number}") for number in range(40)]
        for number in range(5):
            member = await Device.connect(gateway, f"300{number}")
            await member.sign_in("", 0)
            members.append(member)
        for member in members:
            assert await member.result(member.terminal.heartbeat()) == 0
        for guest in guests[:25]:
            await guest.closed()
        assert set(gateway._addresses.refused) == {"crowded_out"}

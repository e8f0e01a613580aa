"""Who may say what: every standing, policy, kind of message and transport, through sockets into the log."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from typing import Any, Final

import pytest

from gateway import cut_off, sessions
from gateway.cut_off import CutOff
from gateway.elsewhere import ANSWER_S, Elsewhere
from gateway.fleet import FleetNews, FleetTerminal
from gateway.server import Gateway
from gateway.standing import VERDICTS, Case, Standing
from protocol.connection import Terminal
from protocol.edition import Edition
from protocol.frame import parse
from protocol.messages import encode_body
from store.log import LogWriter
from store.records import CloseReason, FrameFlag, SessionClosed, SessionOpened
from tests.gateway.authority import Authority
from tests.gateway.device import Device, logged, report, running, until
from tests.gateway.test_tls import connect
from tests.gateway.test_udp import UdpDevice

AUTHENTICATED, UNPROVEN, LOBBY = FrameFlag.AUTHENTICATED, FrameFlag.UNPROVEN, FrameFlag.LOBBY

FLEET: Final = {
    "1": FleetTerminal(known=True),
    "2": FleetTerminal(registered=True),
    "4": FleetTerminal(known=True, speaks_without_code=True),
    "5": FleetTerminal(registered=True, speaks_without_code=True),
    "6": FleetTerminal(speaks_without_code=True),
}
STANDINGS: Final = {
    "1": Standing.ACCEPTED,
    "2": Standing.REGISTERED,
    "3": Standing.STRANGER,
    "4": Standing.ACCEPTED,
    "5": Standing.REGISTERED,
    "6": Standing.STRANGER,
}
MAY_SPEAK: Final = {"4", "5"}
"""Who is allowed to do without a code, and is no stranger."""

KINDS: Final[dict[str, Callable[[Any], int]]] = {
    "heartbeat": lambda terminal: terminal.heartbeat(),
    "report": lambda terminal: terminal.report(report()),
    "undecodable": lambda terminal: terminal.say(0x0704, b"?"),
    "unknown": lambda terminal: terminal.say(0xE123, b"vendor"),
    "time": lambda terminal: terminal.say(0x0004, b""),
    "medium": lambda terminal: terminal.say(0x0801, bytes(40)),
    "registration": lambda terminal: terminal.register("辽A12345", 2),
    "wrong code": lambda terminal: terminal.authenticate("GUESSED"),
}
MANY: Final = 40
"""Reports in one piece, which are read as columns."""


def before(identity: str) -> int:
    """Give the flag of what a terminal says without its code."""
    if STANDINGS[identity] is Standing.STRANGER:
        return LOBBY
    return 0 if identity in MAY_SPEAK else UNPROVEN


def test_the_table_has_every_case() -> None:
    cases = [Case(*case) for case in product([True, False], Standing, [True, False], [True, False])]
    assert set(VERDICTS) == set(cases)
    for case in cases:
        flags, is_refused = VERDICTS[case]
        if case.is_authenticated:
            assert (flags, is_refused) == (AUTHENTICATED, False)
        elif case.standing is Standing.STRANGER:
            assert (flags, is_refused) == (LOBBY, case.only_known)
        elif case.is_allowed:
            assert (flags, is_refused) == (0, False)
        else:
            assert (flags, is_refused) == (UNPROVEN, case.only_known)


@asynccontextmanager
async def knowing(
    tmp_path: Path, fleet: dict[str, FleetTerminal] = FLEET, **settings: Any
) -> AsyncIterator[Gateway]:
    """Run a gateway that has its copy of the fleet."""
    async with running(tmp_path, fleet_source=lambda _: FleetNews(fleet, {}), **settings) as gateway:
        await until(lambda: len(gateway.fleet) == len(fleet))
        yield gateway


async def open_link(
    gateway: Gateway, authority: Authority, transport: str, identity: str
) -> Device | UdpDevice:
    if transport == "tls":
        return await connect(gateway, authority, identity)
    if transport == "udp":
        return UdpDevice(gateway.udp_port, identity)
    return await Device.connect(gateway, identity)


@pytest.mark.parametrize("policy", ["open", "known"])
@pytest.mark.parametrize("transport", ["tcp", "tls", "udp"])
async def test_every_frame_is_marked_by_who_says_it(tmp_path: Path, policy: str, transport: str) -> None:
    authority, sent = Authority(tmp_path), 0
    settings = {"tls_port": 0, "certificate": authority.issue("gateway"), "udp_port": 0, "policy": policy}
    async with knowing(tmp_path, **settings) as gateway:

        async def flush(device: Device | UdpDevice, frames: int) -> None:
            nonlocal sent
            sent += frames
            device.flush()
            await until(lambda: gateway.health()["frames"] == sent)

        for identity in STANDINGS:
            device = await open_link(gateway, authority, transport, identity)
            for _ in range(2):  # without the code, and with it
                for say in KINDS.values():
                    say(device.terminal)
                    await flush(device, 1)
                for _ in range(MANY):
                    device.terminal.heartbeat()
                await flush(device, MANY)
                device.terminal.authenticate(gateway.credentials.code(identity))
                await flush(device, 1)
            other = await open_link(gateway, authority, transport, identity)
            for _ in range(MANY + 1):
                other.terminal.heartbeat()
                await flush(other, 1)
    log = logged(tmp_path / "log")
    flags: dict[str, list[list[int]]] = {identity: [] for identity in STANDINGS}
    for event in log.of(SessionOpened):
        said = [frame.flags for frame in log.frames if frame.session == event.session]
        flags[event.identity].append(said)
    for identity in STANDINGS:
        first, second = flags[identity]
        once, can = len(KINDS) + MANY, policy == "open" or STANDINGS[identity] is Standing.ACCEPTED
        unproved = before(identity)
        assert first[:once] == [unproved] * once, identity
        assert first[once] == (0 if can else unproved), "what proves it counts"
        assert first[once + 1 :] == [AUTHENTICATED if can else unproved] * (once + 1), identity
        if can and STANDINGS[identity] is Standing.STRANGER:
            unproved = 0 if identity in {"6"} else UNPROVEN  # it is registered now
        assert second == [unproved] * (MANY + 1), "one link proves nothing of another"


@pytest.mark.parametrize("policy", ["open", "known"])
@pytest.mark.parametrize("many", [1, MANY])
async def test_what_counts_is_answered_as_accepted(tmp_path: Path, policy: str, many: int) -> None:
    async with knowing(tmp_path, policy=policy) as gateway:
        for identity in STANDINGS:
            device = await Device.connect(gateway, identity)
            for _ in range(many):
                device.terminal.report(report())
            device.flush()
            results = {(await device.fields())["result"] for _ in range(many)}
            assert results == {1 if policy == "known" and identity not in MAY_SPEAK else 0}, identity


async def test_a_session_goes_by_what_is_decided_meanwhile(tmp_path: Path) -> None:
    news = [FleetNews({}, {})]
    decided = [
        FleetTerminal(known=True),
        FleetTerminal(known=True, speaks_without_code=True),
        FleetTerminal(known=True),
        FleetTerminal(registered=True),
    ]
    async with running(tmp_path, fleet_source=lambda _: news[-1], fleet_refresh_s=3600.0) as gateway:
        device = await Device.connect(gateway, "1")
        assert await device.result(device.terminal.report(report())) == 0
        for terminal in decided:
            await gateway._refresh_fleet(lambda _, is_now=terminal: FleetNews({"1": is_now}, {}))
            for _ in range(MANY):
                device.terminal.report(report())
            device.flush()
            for _ in range(MANY):
                await device.answer()
        await gateway._refresh_fleet(lambda _: FleetNews({}, {}))
        assert await device.result(device.terminal.report(report())) == 0
    flags = [frame.flags for frame in logged(tmp_path / "log").frames]
    assert flags == [LOBBY] + [UNPROVEN] * MANY + [0] * MANY + [UNPROVEN] * 2 * MANY + [LOBBY]


async def test_who_authenticates_is_no_stranger_on_any_of_its_links(tmp_path: Path) -> None:
    async with running(tmp_path, udp_port=0) as gateway:
        honest, forged = await Device.connect(gateway, "1"), UdpDevice(gateway.udp_port, "1")
        await honest.sign_in()
        for number in range(2):
            forged.terminal.report(report())
            forged.flush()
            await until(lambda number=number: gateway.health()["frames"] == 3 + 2 * number)
            assert await honest.result(honest.terminal.report(report())) == 0, "nobody took its place"
    log = logged(tmp_path / "log")
    flags = [frame.flags for frame in log.frames]
    assert flags == [LOBBY, 0, *[UNPROVEN, AUTHENTICATED] * 2], "a datagram says nothing for who has a code"


async def test_who_authenticates_is_no_stranger_to_other_processes(tmp_path: Path) -> None:
    logs = [LogWriter(tmp_path / "log" / str(slot)) for slot in range(2)]
    async with (
        running(tmp_path, logs[0], slot=0, reuse_port=True) as first,
        running(tmp_path, logs[1], slot=1, reuse_port=True) as second,
    ):
        honest = await Device.connect(first, "1")
        await honest.sign_in()
        await until(lambda: second._standings.of("1") is Standing.REGISTERED)
        forged = await Device.connect(second, "1")
        assert await forged.result(forged.terminal.report(report())) == 0
    for log in logs:
        log.close()
    assert [frame.flags for frame in logged(tmp_path / "log" / "1").frames] == [UNPROVEN]


async def test_a_new_code_ends_what_the_old_one_opened(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        device, other = await Device.connect(gateway, "1"), await Device.connect(gateway, "2")
        await device.sign_in()
        await other.sign_in("辽A00002")
        old = gateway.credentials.code("1")
        fleet = FleetNews({"1": FleetTerminal(epoch=1, registered=True)}, {})
        await gateway._refresh_fleet(lambda _: fleet)
        await device.closed()
        assert await other.result(other.terminal.heartbeat()) == 0
        again = await Device.connect(gateway, "1")
        assert await again.result(again.terminal.authenticate(old)) == 1, "it is worthless"
        await again.sign_in()
    log = logged(tmp_path / "log")
    assert log.of(SessionClosed)[0].reason == CloseReason.NEW_CODE
    assert parse(log.frames[-1].content).msg_id == 0x0102 and log.frames[-1].flags == 0


REGISTRATION: Final = {
    "province_id": 21,
    "city_id": 100,
    "manufacturer_id": "ABCDE",
    "terminal_model": "T1",
    "terminal_id": "0000001",
    "plate_color": 2,
    "plate_number": "辽A12345",
}


async def registered(device: Device, edition: Edition = Edition.E2013, **differs: object) -> dict[str, Any]:
    """Register, and give the answer."""
    device.terminal.say(0x0100, encode_body(0x0100, edition, REGISTRATION | differs))
    device.flush()
    return await device.fields()


@pytest.mark.parametrize(
    "body", [b"", b"?", bytes(20), encode_body(0x0100, Edition.E2013, REGISTRATION)[:24]]
)
async def test_a_registration_that_cannot_be_read_gets_no_code(tmp_path: Path, body: bytes) -> None:
    async with running(tmp_path) as gateway:
        device = await Device.connect(gateway, "1")
        device.terminal.say(0x0100, body)
        device.flush()
        answer = await device.answer()
        assert answer.frame.msg_id == 0x8001 and answer.frame.body[-1] == 2, "消息有误"
        assert (await registered(device))["auth_code"]


async def test_nobody_gets_the_code_of_a_terminal_that_speaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as gateway:
        honest, other = await Device.connect(gateway, "1"), await Device.connect(gateway, "1")
        assert (await registered(other))["auth_code"] == (await registered(honest))["auth_code"]
        await honest.come_back(gateway)
        await other.closed()
        thief = await Device.connect(gateway, "1")
        for _ in range(3):
            reply = await registered(thief)
            assert reply["result"] == 3 and "auth_code" not in reply
        assert (await registered(honest))["auth_code"], "it may ask itself"
        monkeypatch.setattr(sessions, "SPOKE_S", 0.0)  # as if it had not spoken for so long
        assert (await registered(thief))["auth_code"], "its link may be dead, and this be its next"
        monkeypatch.undo()
        assert (await registered(thief))["result"] == 3
        await honest.close()
        await until(lambda: len(gateway._table) == 1)
        await thief.come_back(gateway)


@pytest.mark.parametrize("many", [1, MANY])
@pytest.mark.parametrize("is_bound", [True, False])
async def test_others_on_its_link_do_not_speak_for_a_terminal(
    tmp_path: Path, many: int, is_bound: bool
) -> None:
    """One that a platform forwarded has the code on a link of its own when its minute is over."""
    async with running(tmp_path) as gateway:
        first = await Device.connect(gateway, "1")
        second = Device(Terminal("2", Edition.E2013), first.reader, first.writer)
        await first.sign_in()
        await second.sign_in("", 0)
        left, stays = (first, second) if is_bound else (second, first)
        number = int(left.terminal.address.raw_id.hex())
        session = gateway._sessions.of(number)
        assert session is not None

        async def speak(device: Device) -> float:
            for _ in range(many):
                device.terminal.heartbeat()
            device.flush()
            for _ in range(many):
                await device.answer()
            return gateway._table.heard_of(session)

        before = await speak(left)
        assert await speak(stays) == before
        moved = await Device.connect(gateway, str(number))
        assert (await registered(moved))["result"] == 3
        assert await speak(left) > before, "it goes on"
        session.heard = gateway._table.bound_heard[session.link.slot] = float("-inf")  # as if long ago
        await speak(stays)
        assert (await registered(moved))["auth_code"]
        gateway._table.nobody_was_idle(asyncio.get_running_loop().time())
        assert (await registered(moved))["result"] == 3, "nobody could be heard meanwhile"


async def test_nobody_gets_the_code_of_a_terminal_whose_link_we_have_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as gateway:
        honest, thief = await Device.connect(gateway, "1"), await Device.connect(gateway, "1")
        await honest.sign_in()
        session = gateway._sessions.of(1)
        assert session is not None
        gateway._cut(session.link, CloseReason.SLOW_READER)
        await honest.closed()
        await until(lambda: len(gateway._table) == 1)
        assert (await registered(thief))["result"] == 3, "it was heard a moment ago"
        monkeypatch.setattr(sessions, "SPOKE_S", 0.0)  # as if that were so long ago
        assert (await registered(thief))["auth_code"]
        monkeypatch.undo()
        honest = await Device.connect(gateway, "1")
        await honest.come_back(gateway)
        await honest.close()
        await until(lambda: len(gateway._table) == 0)
        honest = await Device.connect(gateway, "1")
        assert (await registered(honest))["auth_code"], "it had closed its link itself"


def test_of_only_so_many_it_is_remembered_when_they_were_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cut_off, "MAX_REMEMBERED", 3)
    remembered = CutOff()
    for key in range(5):
        remembered.note(key, 10.0 + key)
    remembered.note(2, 3.0)
    assert len(remembered) == 3 and remembered.heard(1) < 0.0
    assert remembered.heard(2) == 12.0, "another of its links was heard later"
    remembered.forget(2)
    assert remembered.heard(2) < 0.0


async def test_nobody_gets_the_code_at_another_process(tmp_path: Path) -> None:
    logs = [LogWriter(tmp_path / "log" / str(slot)) for slot in range(2)]
    async with (
        running(tmp_path, logs[0], slot=0, reuse_port=True) as first,
        running(tmp_path, logs[1], slot=1, reuse_port=True) as second,
    ):
        honest = await Device.connect(first, "1")
        await honest.sign_in()
        await until(lambda: second._sessions._elsewhere._sessions)
        for _ in range(3):
            thief = await Device.connect(second, "1")
            assert (await registered(thief))["result"] == 3
            await until(lambda: not second._sessions._elsewhere._asked)  # told that the terminal speaks
            await thief.close()
        await honest.close()
        await until(lambda: not second._sessions._elsewhere._sessions)
        assert (await registered(await Device.connect(second, "1")))["auth_code"]
    for log in logs:
        log.close()


def test_who_is_not_heard_elsewhere_gets_its_code_at_the_second_try() -> None:
    elsewhere = Elsewhere()
    assert elsewhere.may_speak(1, 0.0) == (False, False)
    elsewhere.proved(1, 7)
    assert [elsewhere.may_speak(1, at) for at in (0.0, 1.0)] == [(True, True), (True, False)]
    elsewhere.speaks(1)
    assert elsewhere.may_speak(1, 2.0) == (True, True), "it is asked again"
    assert elsewhere.may_speak(1, 2.0 + ANSWER_S) == (False, False), "nobody knows of it any more"
    elsewhere.proved(1, 8)
    elsewhere.ended(1, 7)
    assert elsewhere.may_speak(1, 9.0) == (True, True), "an older session has ended"
    elsewhere.ended(1, 8)
    assert elsewhere.may_speak(1, 9.0) == (False, False)


@pytest.mark.parametrize("changed", ["manufacturer_id", "terminal_model", "terminal_id"])
async def test_another_device_with_the_number_does_not_make_the_code_worthless(
    tmp_path: Path, changed: str
) -> None:
    async with knowing(tmp_path, {"1": FleetTerminal(known=True)}, policy="known") as gateway:
        device = await Device.connect(gateway, "1")
        code = (await registered(device))["auth_code"]
        assert await device.result(device.terminal.authenticate(code)) == 0
        assert (await registered(device, **{changed: "X"}))["auth_code"] == code
        await device.close()
        other = await Device.connect(gateway, "1")
        assert (await registered(other, **{changed: "Y"}))["result"] == 0
        assert await other.result(other.terminal.authenticate(code)) == 0

"""Two links with one identity: who closes whom, what is told, and that nothing is lost by it."""

from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import clones
from gateway.clones import MAX_LINKS, OF_LATE_US, SECOND_US, TAKE_OVERS, TakeOvers, replaces
from gateway.fleet import Fleet, FleetData, FleetTerminal
from gateway.links import Link, LinkTable
from gateway.server import Gateway
from gateway.sessions import Sessions
from gateway.standing import Standings
from store.records import Cloned, CloseReason, SessionClosed, SessionOpened
from tests.gateway.device import Device, logged, report, running, until


@pytest.mark.parametrize(
    ("older_proved", "newer_proved", "of_late"),
    list(product([True, False], [True, False], range(TAKE_OVERS + 1))),
)
def test_who_is_closed(older_proved: bool, newer_proved: bool, of_late: int) -> None:
    closes = replaces(older_proved=older_proved, newer_proved=newer_proved, of_late=of_late)
    if of_late == TAKE_OVERS:
        assert not closes, "closing has not helped"
    else:
        assert closes == (newer_proved or not older_proved), "who proves nothing takes nothing away"


def test_take_overs_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    remembered = TakeOvers()
    for second in range(10):
        remembered.note(1, second * SECOND_US)
    remembered.note(2, 9 * SECOND_US)
    assert (remembered.of_late(1, 10 * SECOND_US), remembered.of_late(2, 10 * SECOND_US)) == (TAKE_OVERS, 1)
    assert remembered.of_late(1, 8 * SECOND_US + OF_LATE_US) == 1
    remembered.forget(8 * SECOND_US + OF_LATE_US)
    assert len(remembered) == 2
    remembered.forget(9 * SECOND_US + OF_LATE_US)
    assert len(remembered) == 0
    monkeypatch.setattr(clones, "MAX_REMEMBERED", 5)
    for key in range(20):
        remembered.note(key, key)
    assert len(remembered) == 5


ACTIONS = st.one_of(
    st.tuples(st.just("open"), st.integers(0, 5)),
    st.tuples(st.just("prove"), st.integers(0, 5)),
    st.tuples(st.just("close"), st.integers(0, 5)),
    st.tuples(st.just("wait"), st.sampled_from([SECOND_US, OF_LATE_US])),
    st.tuples(st.just("block"), st.just(0)),
)


@given(actions=st.lists(ACTIONS, max_size=60))
def test_whatever_links_do_the_newest_number_is_of_a_session_that_goes_on(
    actions: list[tuple[str, int]],
) -> None:
    table = LinkTable(6)
    numbers = iter(range(1, 1000))
    fleet = Fleet(Path("no copy"))
    every = Sessions(table, lambda _: next(numbers), Standings(fleet, only_known=False))
    links = [Link(None) for _ in range(6)]  # type: ignore[arg-type]
    for link in links:
        table.admit(link, 0.0)
    now_us, live, newest = 0, set[int](), 0
    for action, value in actions:
        if action == "wait":
            now_us += value
        elif action == "block":
            fleet.replace(FleetData({"1": FleetTerminal(blocked=True)}))
            every.judge(["1"])
            fleet.replace(FleetData())
        elif action == "open" and 1 not in links[value].sessions:
            proved = [session for session in every._all_of(1) if session.is_authenticated]
            every.open(links[value], 1, "1", now_us)
            assert set(proved) <= set(every._all_of(1)), "who proves nothing takes nothing away"
        elif action == "prove" and 1 in links[value].sessions:
            every.authenticate(links[value].sessions[1], 0, now_us)
        elif action == "close":
            every.close_link(links[value], CloseReason.PEER_CLOSED)
        live |= {event.session for event in every.opened}
        newest = max(newest, *live, 0)
        live -= {event.session for event in every.closed}
        every.opened.clear()
        every.closed.clear()
        carried = [link.sessions[1] for link in links if link.sessions]
        assert {session.number for session in carried} == live
        assert all(table.session[session.link.slot] == session.number for session in carried)
        assert len(carried) <= MAX_LINKS + (sum(session.is_authenticated for session in carried) == MAX_LINKS)
        assert not carried or newest in live, "the record would call a connected terminal gone"
        current = every.of(1)
        assert (current is None) == (not carried) == (len(every) == 0)
        if current is not None:
            assert current.is_authenticated == any(session.is_authenticated for session in carried)
        assert every.shared == (len(carried) > 1)


async def test_a_stranger_does_not_close_the_link_of_a_terminal_that_proved_itself(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        own, stranger = await Device.connect(gateway), await Device.connect(gateway)
        await own.sign_in()
        assert await stranger.result(stranger.terminal.report(report())) == 0
        assert await own.result(own.terminal.report(report())) == 0
        session = gateway._sessions.of(0x13900000001)
        assert session is not None and session.is_authenticated, "commands go to who proved itself"
        await stranger.close()
        await until(lambda: gateway.health()["connections"] == 1)
        assert await own.result(own.terminal.heartbeat()) == 0
    log = logged(tmp_path / "log")
    assert len(log.frames) == 5
    reasons = [event.reason for event in log.of(SessionClosed)]
    assert sorted(reasons) == sorted([CloseReason.PEER_CLOSED, CloseReason.RENEWED, CloseReason.STOPPING])
    assert log.frames[-1].session == max(event.session for event in log.of(SessionOpened))


async def test_however_many_strangers_come_a_terminal_keeps_its_link_and_its_code(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        own = await Device.connect(gateway)
        await own.sign_in()
        strangers = [await Device.connect(gateway) for _ in range(TAKE_OVERS + 2 * MAX_LINKS)]
        for number, stranger in enumerate(strangers):
            assert await stranger.result(stranger.terminal.heartbeat()) == 0
            stranger.terminal.register("辽A12345", 2)
            stranger.flush()
            assert (await stranger.fields())["result"] == 3, f"stranger {number}"
        assert await own.result(own.terminal.heartbeat()) == 0
        assert len(gateway._sessions._all_of(0x13900000001)) == MAX_LINKS


async def test_who_has_the_code_comes_in_beside_links_that_are_all_dead(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        devices = [await Device.connect(gateway) for _ in range(TAKE_OVERS + MAX_LINKS)]
        await devices[0].sign_in()
        for device in devices[1:]:
            await device.come_back(gateway)
        strangers = [await Device.connect(gateway) for _ in range(3)]
        for stranger in strangers:
            assert await stranger.result(stranger.terminal.heartbeat()) == 0
        assert len(gateway._sessions._all_of(0x13900000001)) == MAX_LINKS + 1
        await strangers[2].come_back(gateway)
        sessions = gateway._sessions._all_of(0x13900000001)
        assert [session.is_authenticated for session in sessions] == [True] * MAX_LINKS


async def test_clones_stop_closing_each_other_and_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clones, "PROOF_US", 0)
    async with running(tmp_path) as gateway:
        assert gateway._timer
        gateway._timer.cancel()  # it is told at our tick, however long the reports take
        first, second = await Device.connect(gateway), await Device.connect(gateway)
        await first.sign_in()
        closes = 0
        for _ in range(TAKE_OVERS + 3):
            await second.come_back(gateway)
            if gateway._sessions.shared:
                break
            await first.closed()
            closes += 1
            first, second = second, await Device.connect(gateway)
        assert closes == TAKE_OVERS, "then both stay"
        for _ in range(5):
            for device in (first, second):
                assert await device.result(device.terminal.report(report())) == 0
        gateway._second()
        await until(lambda: told(gateway))
        for device in (first, second):
            assert await device.result(device.terminal.heartbeat()) == 0
    log = logged(tmp_path / "log")
    (clone,) = log.of(Cloned)
    assert clone.frames == (6, 5) and clone.take_overs == TAKE_OVERS
    assert len(set(clone.peers)) == 2
    assert clone.session == max(event.session for event in log.of(SessionOpened))
    sent = 2 + (closes + 1) + 10 + 2
    assert len(log.frames) == sent, "what each of them sent is stored"


def told(gateway: Gateway) -> bool:
    return any(shared.told_us for shared in gateway._sessions._shared.values())


async def test_a_terminal_that_only_reconnects_often_is_no_clone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clones, "PROOF_US", 0)
    async with running(tmp_path) as gateway:
        devices = [await Device.connect(gateway) for _ in range(TAKE_OVERS + MAX_LINKS + 2)]
        await devices[0].sign_in()
        for device in devices[1:]:
            await device.come_back(gateway)
        assert gateway.health()["sessions"] == 1
        await until(lambda: gateway.health()["connections"] == MAX_LINKS)
        gateway._second()
        assert not told(gateway)
        assert await device.result(device.terminal.heartbeat()) == 0

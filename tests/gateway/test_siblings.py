"""Gateway processes tell each other whose terminals came and went."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import LARGEST_SLEW_US, ReceiveClock
from gateway.server import Gateway
from gateway.siblings import MAX_WAITING, News, Siblings, What, decode, encode
from protocol.connection import Terminal
from protocol.edition import Edition
from store.log import LogWriter
from store.records import CloseReason, SessionClosed, SessionOpened
from tests.gateway.device import Device, logged, report, running, until

NEWS = st.builds(News, st.sampled_from(What), st.integers(0, 2**63), st.integers(0, 2**80 - 1))


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[list[Gateway]]:
    """Two gateways of one machine."""
    async with AsyncExitStack() as held:
        gateways = []
        for slot in range(2):
            log = LogWriter(tmp_path / "log" / str(slot))
            held.callback(log.close)
            gateways.append(
                await held.enter_async_context(running(tmp_path, log, slot=slot, reuse_port=True))
            )
        yield gateways


async def test_a_terminal_that_hops_ends_its_older_session(pair: list[Gateway], tmp_path: Path) -> None:
    first = await Device.connect(pair[0])
    await first.sign_in()
    second = await Device.connect(pair[1])
    await second.come_back(pair[1])
    await first.closed()
    assert await second.result(second.terminal.report(report())) == 0
    await until(lambda: pair[0].health()["connections"] == 0)
    (older,) = logged(tmp_path / "log" / "0").of(SessionOpened)
    (newer,) = logged(tmp_path / "log" / "1").of(SessionOpened)
    assert newer.session > older.session and (older.session & 255, newer.session & 255) == (0, 1)
    assert logged(tmp_path / "log" / "0").of(SessionClosed) == [
        SessionClosed(older.session, CloseReason.TAKEN_OVER)
    ]
    for device in (first, second):
        await device.close()


async def test_who_proves_nothing_takes_nothing_away(pair: list[Gateway]) -> None:
    """… and when the newer session ends, the older one goes on under a newer number."""
    honest = await Device.connect(pair[0])
    await honest.sign_in()
    stranger = await Device.connect(pair[1])
    assert await stranger.result(stranger.terminal.report(report())) == 0
    assert await honest.result(honest.terminal.report(report())) == 0
    before = pair[0]._sessions.of(int("13900000001", 16))
    assert before is not None
    number = before.number
    await stranger.close()
    await until(lambda: before.number > number)
    assert await honest.result(honest.terminal.report(report(1))) == 0
    await honest.close()


async def test_a_link_with_other_terminals_stays(pair: list[Gateway]) -> None:
    shared = await Device.connect(pair[0], "13900000001")
    assert await shared.result(shared.terminal.report(report())) == 0
    other = Device(Terminal("13900000002", Edition.E2013), shared.reader, shared.writer)
    assert await other.result(other.terminal.report(report())) == 0
    hopped = await Device.connect(pair[1], "13900000001")
    assert await hopped.result(hopped.terminal.report(report())) == 0
    await until(lambda: pair[0].health()["sessions"] == 1)
    assert await other.result(other.terminal.report(report(1))) == 0
    for device in (shared, hopped):
        await device.close()


@given(st.lists(NEWS, max_size=50))
def test_news_arrive_as_told(news: list[News]) -> None:
    assert decode(encode(news)) == news


async def test_a_sibling_that_does_not_listen_holds_up_nobody(tmp_path: Path) -> None:
    heard: list[News] = []
    deaf, teller = Siblings(tmp_path, 0, heard.extend), Siblings(tmp_path, 1, heard.extend)
    deaf.open()
    asyncio.get_running_loop().remove_reader(deaf._socket)  # type: ignore[arg-type]
    teller.open()
    news = [News(What.OPENED, number, number) for number in range(MAX_WAITING)]
    for _ in range(8):
        teller.tell(news)
    assert teller.dropped > 0 and sum(map(len, teller._waiting.values())) <= MAX_WAITING
    deaf.close()
    teller.tell([])
    assert not teller._waiting
    teller.close()


async def test_a_long_path_is_no_obstacle(tmp_path: Path) -> None:
    heard: list[News] = []
    directory = tmp_path / ("long" * 40)
    one, two = Siblings(directory, 0, heard.extend), Siblings(directory, 1, heard.extend)
    one.open()
    two.open()
    one.tell([News(What.PROVED, 7, 8)])
    await until(lambda: heard == [News(What.PROVED, 7, 8)])
    one.close()
    two.close()


@given(st.lists(st.tuples(st.integers(-LARGEST_SLEW_US // 50, 10**7), st.integers(0, 10**6)), max_size=50))
def test_receive_times_rise_unless_the_clock_was_set_back_by_far(moves: list[tuple[int, int]]) -> None:
    clock, wall, steady, last = ReceiveClock(), 10**15, 0, 0
    for set_by, elapsed in moves:
        steady += elapsed
        wall += elapsed + set_by
        now = clock.at(wall, steady)
        assert now >= last and now >= wall
        last = now


def test_a_clock_that_was_wrong_by_far_is_followed_at_once() -> None:
    clock = ReceiveClock()
    assert clock.at(10**15, 0) == 10**15
    back = 10**15 - LARGEST_SLEW_US - 1
    assert clock.at(back, 0) == back
    assert clock.at(back - 10, 4) == back + 2

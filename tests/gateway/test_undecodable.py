"""Reports that cannot be decoded, again and again, end their link; odd firmware does not."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import commits, pipeline, server
from gateway.links import READ_BUDGET, Pause
from gateway.undecodable import BUDGET, LEAST_LOCATION, Undecodable, is_short
from protocol.columns import FrameBatch
from protocol.edition import Edition
from protocol.frame import Frame, parse
from protocol.messages import Undecodable as Undecoded
from protocol.messages import decode_frame
from store.records import CloseReason, SessionClosed
from tests.gateway.device import Device, logged, report, running, until


def short(serial: int, identity: int = 1) -> bytes:
    return Frame(0x0200, identity.to_bytes(6), serial & 0xFFFF, b"short").encode()


@pytest.mark.parametrize("columns_pay", [0, 1 << 30], ids=["columns", "singly"])
async def test_reports_that_cannot_be_decoded_end_the_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns_pay: int
) -> None:
    monkeypatch.setattr(server, "LINGER_S", 0.1)
    monkeypatch.setattr(pipeline, "COLUMNS_PAY_BYTES", columns_pay)
    async with running(tmp_path) as gateway:
        bad, good = await Device.connect(gateway, "1"), await Device.connect(gateway, "2")
        results: list[int] = []
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            while len(results) < 3 * BUDGET:
                bad.writer.write(b"".join(short(serial) for serial in range(100)))
                results += [(await bad.fields())["result"] for _ in range(100)]
        assert set(results) == {0}, "what is durable and of a known id is answered"
        assert BUDGET < len(results) <= BUDGET + 200
        assert await good.result(good.terminal.report(report())) == 0
        await until(lambda: gateway.health()["connections"] == 1)
    log = logged(tmp_path / "log")
    assert len(results) + 1 <= len(log.frames) <= len(results) + 101
    assert [event.reason for event in log.of(SessionClosed)] == [CloseReason.GARBAGE, CloseReason.STOPPING]


async def test_what_waits_of_a_link_that_is_given_up_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where syncs are slow, so that it is given up while its next share is gathered."""
    monkeypatch.setattr(commits, "FAST_SYNC_S", 0.0)
    monkeypatch.setattr(server, "ALONE_S", -1.0)  # it goes on at once
    async with running(tmp_path) as gateway:
        bad, good = await Device.connect(gateway, "1"), await Device.connect(gateway, "2")
        for _ in range(20):
            assert await good.result(good.terminal.heartbeat()) == 0
        bad.writer.write(b"".join(short(serial) for serial in range(20 * int(BUDGET))))
        await until(lambda: any(link.paused & Pause.LEAVING for link in gateway._table.links()))
        for _ in range(20):
            assert await good.result(good.terminal.heartbeat()) == 0
        most = BUDGET + 3 * READ_BUDGET / len(short(1)) + 60
        assert gateway.health()["frames"] < most
        bad.writer.transport.abort()


async def test_a_new_link_owes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LINGER_S", 0.0)
    async with running(tmp_path) as gateway:
        bad = await Device.connect(gateway, "1")
        bad.writer.write(b"".join(short(serial) for serial in range(2 * int(BUDGET))))
        await bad.closed()
        await until(lambda: not gateway.health()["connections"])
        again = await Device.connect(gateway, "1")
        again.writer.write(short(1))
        assert (await again.fields())["result"] == 0
        assert await again.result(again.terminal.heartbeat()) == 0


@given(st.integers(1, 2000), st.floats(1.0, 60.0), st.integers(0, 5))
def test_odd_firmware_is_never_given_up(count: int, every_s: float, shorts: int) -> None:
    """One report a second at most that cannot be decoded, or as many that can."""
    owed, now = Undecodable(3), 0.0
    for _ in range(count):
        now += every_s
        many = np.array([1, 100 * shorts])
        assert not owed.note(np.array([0, 2]), many, many * [1, 2], now).any()


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300), st.floats(0, 5)), max_size=60))
def test_who_owes_too_much_is_given_up(turns: list[tuple[int, int, float]]) -> None:
    """Against one number, and nobody owes anything when that is said."""
    owed, expected, now = Undecodable(2), 0.0, 0.0
    for bad, good, later_s in turns:
        now += later_s
        assert owed.is_owed(now) or expected - later_s <= 0
        expected = max(0.0, max(0.0, expected - later_s) + bad - good)
        found = owed.note(np.array([1]), np.array([bad]), np.array([bad + good]), now)
        assert bool(found[0]) == (expected > BUDGET) or abs(expected - BUDGET) < 1e-6


@given(
    st.integers(0, LEAST_LOCATION + 5),
    st.sampled_from([0x0200, 0x0201, 0x0002]),
    st.integers(0, 1),
    st.booleans(),
)
def test_what_is_short_cannot_be_decoded_and_is_the_same_in_columns(
    length: int, msg_id: int, cipher: int, is_fragment: bool
) -> None:
    frame = Frame(
        msg_id,
        (1).to_bytes(6),
        1,
        bytes(length),
        fragment=(2, 1) if is_fragment else None,
        attributes=cipher << 10,
    )
    plain = frame.encode()[1:-1].replace(b"\x7d\x02", b"\x7e").replace(b"\x7d\x01", b"\x7d")
    batch, _ = FrameBatch.from_plain(plain, [len(plain)])
    assert bool(pipeline.short_reports(batch)[0]) == is_short(plain)
    if is_short(plain):
        assert isinstance(decode_frame(parse(plain), Edition.E2013), Undecoded)

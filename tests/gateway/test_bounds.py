"""No link can hurt the others: slow readers, floods, garbage, half frames, silence."""

import asyncio
import socket
from pathlib import Path

import pytest

from gateway import links, pipeline, reception, server, sockets
from gateway.addresses import AddressLimits
from gateway.allowance import MAX_SHARES, Accounts, Allowance
from gateway.conditions import Condition
from gateway.server import Gateway
from protocol.frame import MAX_FRAME, Frame
from store.records import CloseReason, Rejected, SessionClosed
from tests.gateway.device import PATIENCE_S, Device, logged, report, running, until


def silence_passes(gateway: Gateway, seconds: float) -> None:
    """Make it so long ago that anything was received."""
    gateway._table.heard -= seconds
    gateway._table.half_since -= seconds


async def test_a_silent_link_is_closed(tmp_path: Path) -> None:
    async with running(tmp_path, idle_timeout_s=600) as gateway:
        device = await Device.connect(gateway)
        assert await device.result(device.terminal.heartbeat()) == 0
        silence_passes(gateway, 590)
        gateway._second()
        assert await device.result(device.terminal.heartbeat()) == 0, (
            "what is received counts, not what is sent"
        )
        silence_passes(gateway, 601)
        gateway._second()
        await device.closed()
    assert [event.reason for event in logged(tmp_path / "log").of(SessionClosed)] == [CloseReason.IDLE]


async def test_a_link_that_never_says_a_word_is_closed(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        device = await Device.connect(gateway)
        await until(lambda: gateway.health()["connections"])
        silence_passes(gateway, 601)
        gateway._second()
        await device.closed()


@pytest.mark.parametrize("beginning", [b"\x7e\x02\x00", b"half of some other protocol"])
async def test_a_frame_that_does_not_end_closes_the_link(tmp_path: Path, beginning: bytes) -> None:
    async with running(tmp_path) as gateway:
        device = await Device.connect(gateway)
        for byte in beginning:
            device.writer.write(bytes([byte]))
            await asyncio.sleep(0.001)
        await until(lambda: (gateway._table.half_since < float("inf")).any())
        silence_passes(gateway, server.HALF_FRAME_S - 1)
        device.writer.write(b"more")
        await until(lambda: gateway._received_bytes == len(beginning) + 4)
        silence_passes(gateway, 2)
        gateway._second()
        await device.closed()


async def test_garbage_is_read_by_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LINGER_S", 0.1)
    async with running(tmp_path) as gateway:
        good, bad = await Device.connect(gateway, "1"), await Device.connect(gateway, "2")
        junk = b"\x7e" + b"GET / HTTP/1.1 " * 60 + b"\x7e"
        bad.writer.write(junk * (2 * pipeline.GARBAGE_BUDGET // len(junk)))
        await bad.closed()
        for _ in range(3 * pipeline.GARBAGE_BUDGET // len(junk)):
            good.writer.write(junk)
            assert await good.result(good.terminal.heartbeat()) == 0, "a bad frame never closes a good link"
    log = logged(tmp_path / "log")
    assert {event.reason for event in log.of(Rejected)} <= {"bad_length", "garbage"}
    assert log.frames and [event.reason for event in log.of(SessionClosed)] == [CloseReason.STOPPING]


@pytest.mark.parametrize("junk", [b"\x00garbage", b"\x7egarbage", b"\x7e\x02" * 100])
async def test_garbage_is_read_seldom_and_then_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, junk: bytes
) -> None:
    rests: list[float] = []
    rest_for = Gateway._rest_for

    def noted(self: Gateway, link: links.Link, seconds: float) -> None:
        rests.append(seconds)
        rest_for(self, link, seconds)

    monkeypatch.setattr(Gateway, "_rest_for", noted)
    async with running(tmp_path) as gateway:
        good, bad = await Device.connect(gateway, "1"), await Device.connect(gateway, "2")
        assert await bad.result(bad.terminal.heartbeat()) == 0
        bad.writer.write(junk * (1_000_000 // len(junk)))
        await until(lambda: any(link.paused & links.Pause.LEAVING for link in gateway._table.links()))
        assert set(rests) == {server.GARBAGE_REST_S}, "alone, and yet not at once"
        most = pipeline.GARBAGE_BUDGET + 2 * links.READ_BUDGET
        for _ in range(20):
            assert await good.result(good.terminal.heartbeat()) == 0
            assert gateway._received_bytes < most, (
                "a link that is given up is not read, though it stays a while"
            )
        assert gateway.health()["connections"] == 2
        bad.writer.transport.abort()


async def test_who_wants_more_than_its_share_lets_others_go_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "REST_S", 3600.0)
    async with running(tmp_path) as gateway:
        flood, other = await Device.connect(gateway, "1"), await Device.connect(gateway, "2")
        assert await flood.result(flood.terminal.heartbeat()) == 0
        gateway._others_at = float("-inf")  # as if it were long ago
        serials = [flood.terminal.report(report(second)) for second in range(1000)]
        flood.flush()
        assert [(await flood.fields())["ack_serial"] for _ in serials] == serials, (
            "there is time, so it goes on"
        )
        serials = []
        while not gateway._resting:  # until both are read in one turn
            serials += [flood.terminal.report(report(second)) for second in range(1000)]
            flood.flush()
            assert await other.result(other.terminal.heartbeat()) == 0
        (link,) = gateway._resting
        frames = gateway.health()["frames"]
        for _ in range(20):
            assert await other.result(other.terminal.heartbeat()) == 0
        assert gateway.health()["frames"] == frames + 20, "somebody else wants the time"
        gateway._others_at = float("-inf")
        gateway._rested(link)
        assert [(await flood.fields())["ack_serial"] for _ in serials] == serials, "late, but all of it"


async def test_who_does_not_read_is_not_read(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        own: socket.socket = writer.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        sent = 400_000
        writer.write(Frame(0x0002, (1).to_bytes(6), 1, b"").encode() * sent)
        await until(lambda: any(link.paused & links.Pause.SLOW_READER for link in gateway._table.links()))
        (link,) = gateway._table.links()
        assert link.transport.get_write_buffer_size() < 1 << 20, "the answers of one turn over the limit"
        other = await Device.connect(gateway, "2")
        assert await other.result(other.terminal.heartbeat()) == 0
        reader._transport.resume_reading()  # type: ignore[attr-defined]
        flags = 0
        while flags < 2 * sent:
            flags += (await asyncio.wait_for(reader.read(1 << 20), PATIENCE_S)).count(b"\x7e")
        assert not link.paused
        writer.close()


async def test_a_flood_is_read_in_turns(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        flood, other = await Device.connect(gateway, "1"), await Device.connect(gateway, "2")
        frames = 20_000
        flood.writer.write(Frame(0x0002, (1).to_bytes(6), 1, b"").encode() * frames)
        flags = 0
        while flags < 2 * frames:
            flags += (await asyncio.wait_for(flood.reader.read(1 << 20), PATIENCE_S)).count(b"\x7e")
        assert await other.result(other.terminal.heartbeat()) == 0
        assert gateway._turns > 3


async def test_terminals_that_do_not_take_their_last_answers_do_not_hold_the_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "CLOSING_S", 0.2)
    async with running(tmp_path) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        writer.write(Frame(0x0002, (1).to_bytes(6), 1, b"").encode() * 400_000)
        await until(lambda: any(link.paused & links.Pause.SLOW_READER for link in gateway._table.links()))
    await until(lambda: gateway.health()["connections"] == 0)
    writer.close()


def fails(*_: object, **__: object) -> None:
    raise RuntimeError("a mistake of ours")


async def test_a_frame_that_we_cannot_handle_costs_only_its_meaning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as gateway:
        device = await Device.connect(gateway)
        monkeypatch.setattr(reception, "decode_frame", fails)
        assert await device.result(device.terminal.register("辽A12345", 2)) == 0
        assert await device.result(device.terminal.heartbeat()) == 0
        assert gateway.health()["mistakes"] == 1
    assert len(logged(tmp_path / "log").frames) == 2, "both are kept"


async def test_a_batch_that_we_cannot_read_is_read_link_by_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as gateway:
        devices = [await Device.connect(gateway, str(number)) for number in (1, 2, 3)]
        monkeypatch.setattr(pipeline, "scan", fails)
        monkeypatch.setattr(pipeline, "COLUMNS_PAY_BYTES", 0)
        for device in devices:
            for _ in range(20):
                device.terminal.heartbeat()
            device.flush()
        for device in devices:
            assert [(await device.fields())["ack_serial"] for _ in range(20)] == list(range(20))
        assert gateway.health()["mistakes"] >= 1
        monkeypatch.setattr(pipeline, "Deframer", fails)
        devices[0].terminal.heartbeat()
        devices[0].flush()
        await devices[0].closed()
        monkeypatch.undo()
        assert await devices[1].result(devices[1].terminal.heartbeat()) == 0
    log = logged(tmp_path / "log")
    assert len(log.frames) == 61
    assert [event.reason for event in log.of(SessionClosed)] == [
        CloseReason.ERROR,
        *[CloseReason.STOPPING] * 2,
    ]


async def test_every_socket_gives_up_on_its_own(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        device = await Device.connect(gateway)
        assert await device.result(device.terminal.heartbeat()) == 0
        (link,) = gateway._table.links()
        own = link.transport.get_extra_info("socket")
        assert own.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == links.UNACKNOWLEDGED_MS
        assert own.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * links.SEND_BUFFER


@pytest.mark.parametrize("said", [b"", b"\x7e", b"GET / HTTP/1.1\r\n"])
async def test_a_connection_on_which_no_terminal_speaks_ends_early(tmp_path: Path, said: bytes) -> None:
    async with running(tmp_path) as gateway:
        device = await Device.connect(gateway)
        terminal = await Device.connect(gateway)
        assert await terminal.result(terminal.terminal.heartbeat()) == 0
        device.writer.write(said)
        await until(lambda: gateway._received_bytes >= len(said) + 15)
        silence_passes(gateway, server.FIRST_FRAME_S + 1)
        if said:
            device.writer.write(said)
            await until(lambda: gateway._received_bytes >= 2 * len(said) + 15)
        gateway._second()
        await device.closed()
        assert await terminal.result(terminal.terminal.heartbeat()) == 0


async def test_who_never_reads_its_answers_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=1)
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(Frame(0x0002, (1).to_bytes(6), 1, b"").encode() * 400_000)
        await until(lambda: gateway._clogged)
        (link,) = gateway._table.links()
        # Beyond the limit lie at most the answers to what had been read in one go: 20 bytes for 15.
        most = links.WRITE_LIMIT + (sockets.FEW_BYTES + sockets.MANY_BYTES) * 20 // 15
        assert link.transport.get_write_buffer_size() <= most, "it is not read, so nothing is added"
        gateway._second()
        assert gateway.health()["connections"] == 1, "it has a minute"
        monkeypatch.setattr(server, "CLOGGED_S", 0.0)
        gateway._second()
        await until(lambda: gateway.health()["connections"] == 0)
        assert not gateway._clogged
        writer.close()
    reasons = [event.reason for event in logged(tmp_path / "log").of(SessionClosed)]
    assert reasons == [CloseReason.SLOW_READER]


async def test_one_link_has_no_more_than_its_share_of_a_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    read = pipeline.Pipeline.read

    def counted(self: pipeline.Pipeline, turn: list[links.Link], *now: float) -> object:
        sizes.extend(len(link.unread) for link in turn)
        return read(self, turn, *now)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline.Pipeline, "read", counted)
    async with running(tmp_path) as gateway:
        device = await Device.connect(gateway)
        serials = [device.terminal.report(report(second)) for second in range(3000)]
        device.flush()
        assert [(await device.fields())["ack_serial"] for _ in serials] == serials
        assert len(sizes) > 5 and max(sizes) <= links.READ_BUDGET + MAX_FRAME
        for second in range(3000):
            device.terminal.report(report(second))
        data = device.terminal.data_to_send()
        arrived = gateway._received_bytes + len(data)
        device.writer.write(data)
        await until(lambda: gateway._received_bytes == arrived)
        await device.close()
        await until(lambda: gateway.health()["connections"] == 0)
    assert len(logged(tmp_path / "log").frames) == 6000, "what came before the link was lost is kept"


async def test_who_sends_too_much_slows_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CHECK_BYTES", 0)
    small = Allowance(bytes_per_s=30_000, burst_bytes=100_000)
    async with running(tmp_path, allowance=small) as gateway:
        flood, other = await Device.connect(gateway, "1"), await Device.connect(gateway, "2")
        frames = 20_000
        flood.writer.write(Frame(0x0002, (1).to_bytes(6), 1, b"").encode() * frames)
        await until(lambda: gateway._slowed)
        for _ in range(20):
            assert await other.result(other.terminal.heartbeat()) == 0
        assert gateway.health()["frames"] < frames
        flags = 0
        while flags < 2 * frames:
            flags += (await asyncio.wait_for(flood.reader.read(1 << 20), PATIENCE_S)).count(b"\x7e")
            gateway._table.accounts.owed[:] = 0.0  # as if a second had passed
            gateway._let_go_on()
        assert gateway.health()["frames"] == frames + 20, "slower, and nothing lost"


async def test_a_terminal_that_is_slowed_may_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CHECK_BYTES", 0)
    async with running(tmp_path, allowance=Allowance(bytes_per_s=1, burst_bytes=20_000)) as gateway:
        flood = await Device.connect(gateway)
        flood.writer.write(Frame(0x0002, (1).to_bytes(6), 1, b"").encode() * 5_000)
        await until(lambda: gateway._slowed)
        flood.writer.transport.abort()
        gateway._table.accounts.owed[:] = 0.0
        gateway._let_go_on()
        await until(lambda: gateway.health()["connections"] == 0)
        assert gateway.health()["sessions"] == 0


def test_an_allowance_grows_with_terminals_and_time() -> None:
    accounts = Accounts(4, Allowance(bytes_per_s=10, burst_bytes=100))
    accounts.pay(1000.0)
    accounts.owed[:] = 0, 100, 101, 500
    assert accounts.overdrawn().tolist() == [2, 3]
    accounts.share(3, 5)
    assert accounts.overdrawn().tolist() == [2] and not accounts.is_overdrawn(3)
    accounts.pay(1002.0)
    assert accounts.owed.tolist() == [0, 80, 81, 400]
    accounts.share(3, 1_000_000)
    accounts.owed[3] = 100 * MAX_SHARES + 1
    assert accounts.is_overdrawn(3)
    accounts.open(3)
    assert accounts.owed[3] == 0 and not accounts.is_overdrawn(3)


async def test_many_pieces_of_garbage_are_few_records(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        device = await Device.connect(gateway)
        assert await device.result(device.terminal.heartbeat()) == 0
        device.writer.write(b"\x7e\x01" * 500)
        assert await device.result(device.terminal.heartbeat()) == 0
        assert gateway.health()["rejected"] == 500
    kept = logged(tmp_path / "log").of(Rejected)
    assert len(kept) < 50
    assert b"".join(event.raw for event in kept).count(b"\x01") == 500, "nothing of it is lost"


async def test_a_stop_closes_links_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "DRAIN_LINKS", 2)
    async with running(tmp_path, drain_s=0.5) as gateway:
        devices = [await Device.connect(gateway, str(number)) for number in range(1, 11)]
        for device in devices:
            assert await device.result(device.terminal.heartbeat()) == 0
        stopping = asyncio.ensure_future(gateway.stop())
        await until(lambda: gateway.health()["connections"] < 10)
        assert gateway.health()["connections"] > 0
        still = [device for device in devices if not device.reader.at_eof()]
        served = 0
        for device in still:
            serial = device.terminal.heartbeat()
            try:
                served += await device.result(serial) == 0
            except ConnectionError:
                continue
        assert served, "who is not closed yet is served"
        await stopping
        for device in devices:
            await device.closed()
        monkeypatch.setattr(Gateway, "stop", stopped)
    log = logged(tmp_path / "log")
    assert [event.reason for event in log.of(SessionClosed)] == [CloseReason.STOPPING] * 10
    assert len(log.frames) >= 10 + served


async def stopped(gateway: Gateway) -> None:
    """It was stopped before."""


@pytest.mark.parametrize(
    ("states", "told"),
    [
        ("bbbb", {0: True}),
        ("bggggggg", {0: True, 6: False}),
        ("bgbgbgbgbggggggg", {0: True, 14: False}),
        ("gggg", {}),
    ],
)
def test_what_changes_to_and_fro_is_told_once(states: str, told: dict[int, bool]) -> None:
    condition = Condition(good_after_s=5.0)
    news = {
        at: condition.is_said_bad
        for at, state in enumerate(states)
        if condition.is_news(bad=state == "b", now=float(at))
    }
    assert news == told


def test_patience_with_what_is_bad_for_a_moment() -> None:
    condition = Condition(bad_after_s=60.0)
    assert not any(condition.is_news(bad=True, now=float(now)) for now in range(60))
    assert not condition.is_news(bad=False, now=60.0)
    assert not any(condition.is_news(bad=True, now=float(now)) for now in range(61, 121))
    assert condition.is_news(bad=True, now=121.0)
    assert condition.is_news(bad=False, now=122.0)


async def test_connecting_again_pays_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CHECK_BYTES", 0)
    small, limits = Allowance(bytes_per_s=1, burst_bytes=12_000), AddressLimits(exempt=())
    async with running(tmp_path, allowance=small, address_limits=limits) as gateway:
        for links_so_far in range(2):
            device = await Device.connect(gateway)
            assert await device.result(device.terminal.heartbeat()) == 0
            assert not gateway._slowed
            serials = [device.terminal.heartbeat() for _ in range(500)]
            device.flush()
            assert [(await device.fields())["ack_serial"] for _ in serials] == serials
            assert len(gateway._slowed) == links_so_far
            gateway._table.accounts.owed -= 5_000 * links_so_far
            gateway._let_go_on()
            await device.close()
            await until(lambda: gateway.health()["connections"] == 0)

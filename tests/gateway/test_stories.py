"""What terminals live through, on real sockets with a real log."""

import asyncio
import random
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from gateway.fleet import FleetNews, FleetTerminal
from protocol.edition import Edition
from protocol.frame import Frame, parse
from store.records import (
    CloseReason,
    Decided,
    FrameFlag,
    Rejected,
    SessionClosed,
    SessionOpened,
    Started,
    Tick,
)
from tests.gateway.device import Device, logged, report, running, until


@pytest.mark.parametrize("edition", list(Edition))
async def test_a_terminal_registers_authenticates_and_reports(tmp_path: Path, edition: Edition) -> None:
    async with running(tmp_path) as gateway:
        device = await Device.connect(gateway, "13912345678", edition)
        await device.sign_in()
        serial = device.terminal.report(report())
        device.flush()
        answer = await device.answer()
        assert answer.frame.msg_id == 0x8001
        assert answer.frame.raw_id == device.terminal.address.raw_id, "answers echo the id of the header"
        assert answer.frame.is_2019 == (edition is Edition.E2019), "and its edition"
        assert answer.fields() == {"ack_serial": serial, "ack_msg_id": 0x0200, "result": 0}
        assert await device.result(device.terminal.heartbeat()) == 0
    log = logged(tmp_path / "log")
    assert [parse(frame.content).msg_id for frame in log.frames] == [0x0100, 0x0102, 0x0200, 0x0002]
    assert [frame.flags for frame in log.frames] == [FrameFlag.LOBBY, 0, *[FrameFlag.AUTHENTICATED] * 2]
    opened, closed = log.of(SessionOpened), log.of(SessionClosed)
    assert [event.identity for event in opened] == ["13912345678"]
    assert {frame.session for frame in log.frames} == {opened[0].session} == {closed[0].session}
    assert opened[0].peer.startswith("127.0.0.1:")
    assert len(log.of(Started)) == 1 and log.of(Tick)


async def test_the_same_terminal_gets_the_same_code_again(tmp_path: Path) -> None:
    codes = []
    for _ in range(2):
        async with running(tmp_path) as gateway:
            for _ in range(2):
                device = await Device.connect(gateway)
                device.terminal.register("辽A12345", 2)
                device.flush()
                reply = await device.fields()
                assert reply["result"] == 0
                codes.append(reply["auth_code"])
    assert len(set(codes)) == 1
    assert codes[0].isascii() and codes[0].isprintable() and len(codes[0]) == 16


async def test_an_unknown_code_is_refused_and_reports_go_on_unauthenticated(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        device = await Device.connect(gateway)
        assert await device.result(device.terminal.authenticate("GUESSED")) == 1
        assert await device.result(device.terminal.report(report())) == 0
    assert [frame.flags for frame in logged(tmp_path / "log").frames] == [FrameFlag.LOBBY] * 2


@pytest.mark.parametrize("pad", ["\0", " ", "\0\0\0\0"])
async def test_padding_around_a_code_does_not_count(tmp_path: Path, pad: str) -> None:
    async with running(tmp_path) as gateway:
        device = await Device.connect(gateway)
        code = gateway.credentials.code("13900000001")
        assert await device.result(device.terminal.say(0x0102, (code + pad).encode())) == 0


async def test_the_code_of_another_terminal_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        device = await Device.connect(gateway, "2")
        assert await device.result(device.terminal.authenticate(gateway.credentials.code("1"))) == 1


async def test_any_chunking_gives_the_same(tmp_path: Path) -> None:
    chance = random.Random(7)
    async with running(tmp_path) as gateway:
        device = await Device.connect(gateway)
        serials = [device.terminal.report(report(second)) for second in range(50)]
        data = device.terminal.data_to_send()
        while data:
            size = chance.choice([1, 2, 3, 7, 30, 80, 500])
            device.writer.write(data[:size])
            data = data[size:]
            await asyncio.sleep(0)
        assert [(await device.fields())["ack_serial"] for _ in serials] == serials
    frames = logged(tmp_path / "log").frames
    assert [parse(frame.content).serial for frame in frames] == serials


async def test_platform_serials_count_up_on_every_link(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        device = await Device.connect(gateway)
        await device.sign_in()
        for second in range(60):
            device.terminal.report(report(second))
        device.flush()
        assert [(await device.answer()).frame.serial for _ in range(60)] == list(range(2, 62))


async def test_a_bad_frame_costs_only_itself(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        device = await Device.connect(gateway)
        first = device.terminal.report(report(1))
        good = device.terminal.data_to_send()
        bad = bytearray(good)
        bad[20] ^= 0x10
        second = device.terminal.report(report(2))
        device.writer.write(
            b"noise" + good + bytes(bad) + b"\x7e\x7d\x05\x7e" + device.terminal.data_to_send()
        )
        assert [(await device.fields())["ack_serial"] for _ in range(2)] == [first, second]
        assert gateway.health()["rejected"] == 3
    log = logged(tmp_path / "log")
    assert len(log.frames) == 2
    assert [event.reason for event in log.of(Rejected)] == ["garbage", "bad_checksum", "bad_escape"]
    assert log.of(Rejected)[1].raw == bytes(bad[1:-1])


async def test_an_unknown_id_is_stored_and_answered_with_3(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        device = await Device.connect(gateway)
        assert await device.result(device.terminal.say(0xE123, b"vendor")) == 3
        assert await device.result(device.terminal.say(0x8001, bytes(5))) == 3, (
            "ids of the platform are none of ours"
        )
    assert [parse(frame.content).body for frame in logged(tmp_path / "log").frames] == [b"vendor", bytes(5)]


async def test_a_body_that_cannot_be_decoded_is_answered_like_any_other(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        device = await Device.connect(gateway)
        assert await device.result(device.terminal.say(0x0200, b"short")) == 0
        assert await device.result(device.terminal.say(0x0704, b"")) == 0
        assert await device.result(device.terminal.say(0x0100, b"nonsense")) == 2, "there is no code for it"
    assert len(logged(tmp_path / "log").frames) == 3


async def test_every_fragment_is_answered_with_its_own_serial(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        device = await Device.connect(gateway)
        first = device.terminal.say(0x0704, bytes(2500))
        register = device.terminal.say(0x0100, bytes(1500))
        device.flush()
        answers = [await device.fields() for _ in range(5)]
        assert [answer["ack_serial"] for answer in answers] == [
            *range(first, first + 3),
            register,
            register + 1,
        ]
        assert {answer["result"] for answer in answers} == {0}


async def test_a_terminal_reply_gets_no_answer(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        device = await Device.connect(gateway)
        device.terminal.say(0x0001, bytes(5))
        heartbeat = device.terminal.heartbeat()
        assert await device.result(heartbeat) == 0
    assert [parse(frame.content).msg_id for frame in logged(tmp_path / "log").frames] == [0x0001, 0x0002]


async def test_an_unescaped_checksum_is_accepted_and_kept_as_it_came(tmp_path: Path) -> None:
    plain = next(
        frame
        for serial in range(65536)
        if (frame := Frame(0x0002, bytes(6), serial, b"").plain())[-1] == 0x7D and 0x7D not in frame[:-1]
    )
    async with running(tmp_path) as gateway:
        device = await Device.connect(gateway, "0")
        device.writer.write(b"\x7e" + plain + b"\x7e")
        assert (await device.fields())["result"] == 0
    assert [(frame.flags, frame.content) for frame in logged(tmp_path / "log").frames] == [
        (FrameFlag.RAW | FrameFlag.LOBBY, b"\x7e" + plain + b"\x7e")
    ]


async def test_a_new_link_takes_the_terminal_over(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        old, new = await Device.connect(gateway), await Device.connect(gateway)
        await old.sign_in()
        await new.come_back(gateway)
        await old.closed()
        assert gateway.health()["sessions"] == 1
        assert await new.result(new.terminal.heartbeat()) == 0
    log = logged(tmp_path / "log")
    first, second = log.of(SessionOpened)
    assert first.session < second.session and first.link != second.link
    assert log.of(SessionClosed)[0] == SessionClosed(first.session, CloseReason.TAKEN_OVER)


async def test_many_terminals_share_a_link(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        platform = await Device.connect(gateway)
        for number in range(1, 200):
            for serial in range(2):
                platform.writer.write(Frame(0x0002, number.to_bytes(6), serial, b"").encode())
        answers = [await platform.answer() for _ in range(398)]
        assert [(int.from_bytes(a.frame.raw_id), a.fields()["ack_serial"]) for a in answers] == [
            (number, serial) for number in range(1, 200) for serial in range(2)
        ]
        assert gateway.health()["sessions"] == 199
        other = await Device.connect(gateway, "7")
        assert await other.result(other.terminal.heartbeat()) == 0
        platform.writer.write(Frame(0x0002, (8).to_bytes(6), 9, b"").encode())
        assert (await platform.answer()).fields()["ack_serial"] == 9, "a link with other terminals stays"
        await platform.close()
        await until(lambda: gateway.health()["sessions"] == 1)
    log = logged(tmp_path / "log")
    assert len({event.session for event in log.of(SessionOpened)}) == 200
    assert len(log.of(SessionClosed)) == 200


async def test_both_header_lengths_of_one_sim_are_one_terminal(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        device = await Device.connect(gateway)
        device.writer.write(Frame(0x0002, bytes.fromhex("013912345678"), 1, b"").encode())
        device.writer.write(Frame(0x0002, bytes.fromhex("00000000013912345678"), 2, b"", version=1).encode())
        answers = [await device.answer() for _ in range(2)]
        assert [answer.frame.is_2019 for answer in answers] == [False, True]
        assert [answer.frame.raw_id.hex() for answer in answers] == ["013912345678", "00000000013912345678"]
    assert [event.identity for event in logged(tmp_path / "log").of(SessionOpened)] == ["13912345678"]


async def test_deregistration_ends_the_session_and_not_the_link(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        device = await Device.connect(gateway)
        await device.sign_in()
        assert await device.result(device.terminal.deregister()) == 0
        assert gateway.health()["sessions"] == 0
        assert await device.result(device.terminal.heartbeat()) == 0
    log = logged(tmp_path / "log")
    assert [event.reason for event in log.of(SessionClosed)] == [
        CloseReason.DEREGISTERED,
        CloseReason.STOPPING,
    ]
    assert log.frames[-1].session == log.of(SessionOpened)[1].session
    assert log.frames[-1].flags == FrameFlag.UNPROVEN, "it has a code"


async def test_what_came_before_the_link_was_lost_is_kept(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        device = await Device.connect(gateway)
        device.terminal.report(report())
        device.flush()
        await device.close()
        await until(lambda: gateway.health()["connections"] == 0 and gateway.health()["frames"])
    log = logged(tmp_path / "log")
    assert len(log.frames) == 1
    assert [event.reason for event in log.of(SessionClosed)] == [CloseReason.PEER_CLOSED]


async def test_conflicts_are_only_real_ones(tmp_path: Path) -> None:
    fleet = FleetNews({"1": FleetTerminal(known=True, plate="辽A00001", plate_color=2)}, {1: ("辽A00001", 2)})
    async with running(tmp_path, fleet_source=lambda _: fleet) as gateway:
        await until(lambda: len(gateway.fleet))
        expected = {
            ("1", "辽A00001", 2): 0,
            ("1", "", 0): 0,
            ("1", "辽A00002", 2): 3,
            ("2", "辽A00001", 2): 1,
            ("2", "辽A00001", 1): 0,
            ("2", "辽A00009", 2): 0,
        }
        for (identity, plate, color), result in expected.items():
            device = await Device.connect(gateway, identity)
            device.terminal.register(plate, color)
            device.flush()
            reply = await device.fields()
            assert (reply["result"], "auth_code" in reply) == (result, result == 0), (identity, plate, color)


async def test_policy_known_lets_only_known_terminals_in(tmp_path: Path) -> None:
    fleet = FleetNews({"1": FleetTerminal(known=True)}, {1: ("辽A00001", 2)})
    async with running(tmp_path, policy="known", fleet_source=lambda _: fleet) as gateway:
        await until(lambda: len(gateway.fleet))
        known, stranger = await Device.connect(gateway, "1"), await Device.connect(gateway, "2")
        assert await known.result(known.terminal.register("辽A00009", 2)) == 2
        assert await stranger.result(stranger.terminal.register("辽A00001", 2)) == 4
        for device in (known, stranger):
            assert await device.result(device.terminal.report(report())) == 1
        for second in range(60):
            stranger.terminal.report(report(second))
        stranger.flush()
        assert {(await stranger.fields())["result"] for _ in range(60)} == {1}
        code = gateway.credentials.code("2")
        assert await stranger.result(stranger.terminal.authenticate(code)) == 1
        await known.sign_in("辽A00001", 2)
        assert await known.result(known.terminal.report(report())) == 0
    frames = logged(tmp_path / "log").frames
    assert len(frames) == 68, "what was refused is written all the same"
    assert [frame.flags for frame in frames].count(FrameFlag.AUTHENTICATED) == 1


async def test_a_blocked_terminal_is_refused_and_nothing_of_it_written(tmp_path: Path) -> None:
    blocked = FleetNews({"1": FleetTerminal(blocked=True)}, {})
    async with running(tmp_path, fleet_source=lambda _: blocked) as gateway:
        await until(lambda: len(gateway.fleet))
        for say, result in ((0x0100, 4), (0x0102, 1)):
            device = await Device.connect(gateway, "1")
            assert await device.result(device.terminal.say(say, b"")) == result
            await device.closed()
        device = await Device.connect(gateway, "1")
        device.terminal.report(report())
        device.flush()
        await device.closed()
        assert not device.received
    log = logged(tmp_path / "log")
    assert log.frames == [] and log.of(SessionOpened) == []


async def test_blocking_closes_the_link_of_a_connected_terminal(tmp_path: Path) -> None:
    fleet = [FleetNews({}, {})]
    async with running(tmp_path, fleet_source=lambda _: fleet[-1], fleet_refresh_s=0.01) as gateway:
        device = await Device.connect(gateway, "1")
        await device.sign_in()
        fleet.append(FleetNews({"1": FleetTerminal(blocked=True)}, {}))
        await device.closed()
    assert [event.reason for event in logged(tmp_path / "log").of(SessionClosed)] == [CloseReason.BLOCKED]


async def test_what_people_decided_gets_its_place_in_the_log(tmp_path: Path) -> None:
    fleet = [FleetNews({}, {}, version=3)]
    async with running(tmp_path, fleet_source=lambda _: fleet[-1], fleet_refresh_s=0.01) as gateway:
        await until(lambda: gateway.fleet.version == 3)
        device = await Device.connect(gateway, "1")
        await device.sign_in()
        fleet.append(FleetNews({"1": FleetTerminal(blocked=True)}, {}, version=7))
        await device.closed()
        await until(lambda: b'"version":7' in (tmp_path / "fleet.json").read_bytes())
    assert [event.version for event in logged(tmp_path / "log").of(Decided)] == [3, 7], "each once"

    def gone(_: str | None) -> FleetNews:
        raise ConnectionError("the database is away")

    async with running(tmp_path, fleet_source=gone):
        pass
    assert [event.version for event in logged(tmp_path / "log").of(Decided)] == [3, 7, 7], "at every start"


async def test_the_fleet_is_known_without_its_source(tmp_path: Path) -> None:
    fleet = FleetNews({"1": FleetTerminal(known=True)}, {})
    async with running(tmp_path, fleet_source=lambda _: fleet) as gateway:
        await until(lambda: len(gateway.fleet))

    def gone(_: str | None) -> FleetNews:
        raise ConnectionError("the database is away")

    async with running(tmp_path, policy="known", fleet_source=gone) as gateway:
        device = await Device.connect(gateway, "1")
        await device.sign_in()
        await until(lambda: "the database is away" in gateway.health()["fleet"]["fault"])


async def test_connections_over_the_limit_are_refused(tmp_path: Path) -> None:
    async with running(tmp_path, max_connections=2) as gateway:
        devices = [await Device.connect(gateway, str(number)) for number in (1, 2)]
        for device in devices:
            assert await device.result(device.terminal.heartbeat()) == 0
        third = await Device.connect(gateway, "3")
        await third.closed()
        await devices[0].close()
        await until(lambda: gateway.health()["connections"] == 1)
        third = await Device.connect(gateway, "3")
        assert await third.result(third.terminal.heartbeat()) == 0


async def test_a_stop_answers_what_is_durable_and_says_so(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        devices = [await Device.connect(gateway, str(number)) for number in range(1, 6)]
        for device in devices:
            await device.sign_in()
    log = logged(tmp_path / "log")
    assert [event.reason for event in log.of(SessionClosed)] == [CloseReason.STOPPING] * 5
    for device in devices:
        await device.closed()


async def test_session_numbers_grow_across_restarts_even_when_the_clock_is_set_back(tmp_path: Path) -> None:
    day_us = 86_400_000_000
    for _ in range(3):
        async with running(tmp_path) as gateway:
            device = await Device.connect(gateway)
            assert await device.result(device.terminal.heartbeat()) == 0
        used = int((tmp_path / "sessions-0").read_text())
        (tmp_path / "sessions-0").write_text(str(used + day_us))  # as if it had run in the future
    numbers = [event.session for event in logged(tmp_path / "log").of(SessionOpened)]
    assert numbers == sorted(set(numbers))
    assert (numbers[2] - numbers[0]) >> 8 > 2 * day_us


async def test_metrics_count_and_name_no_terminal(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        device = await Device.connect(gateway, "13912345678")
        await device.sign_in("辽A12345")
        device.writer.write(b"noise\x7e")
        assert await device.result(device.terminal.heartbeat()) == 0
        text = generate_latest(gateway.registry).decode()
    for line in (
        "northwatch_gateway_frames_total 3.0",
        "northwatch_gateway_answers_total 3.0",
        'northwatch_gateway_rejected_total{reason="too_short"} 1.0',
        "northwatch_gateway_connections 1.0",
        "northwatch_gateway_sessions 1.0",
        "northwatch_gateway_log_failing 0.0",
        "northwatch_gateway_sync_seconds_count",
    ):
        assert line in text
    assert "13912345678" not in text and "12345" not in text

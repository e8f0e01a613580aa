"""Messages in pieces on real sockets: every fragment is answered, and what got lost is asked for."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.downlinks import MAX_KEPT_BYTES, KeptPackets
from gateway.reception import PublicKey
from protocol.edition import Edition
from protocol.frame import Frame, divide, parse
from protocol.messages import encode_body
from protocol.messages.location import location
from store.log import LogWriter
from tests.disks import FaultyDisk
from tests.gateway.device import Device, logged, running, until, with_the_next_frame

SOON_S = 0.05
"""Uploads are given up for quiet after this here, and looked at with every tick."""
ASK, MEDIUM, MEDIUM_REPLY, GENERAL = 0x8003, 0x0801, 0x8800, 0x8001


def pieces(device: Device, msg_id: int, body: bytes, size: int = 300) -> list[Frame]:
    """Divide a message as the device's terminal would, with serials of its own."""
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    address = device.terminal.address
    serials = [device.terminal.say(0x0002) for _ in parts]
    device.terminal.data_to_send()
    return [
        Frame(msg_id, address.raw_id, serial, part, address.version, (len(parts), index))
        for index, (serial, part) in enumerate(zip(serials, parts, strict=True), 1)
    ]


def picture(media_id: int, size: int = 1200) -> bytes:
    """Make the body of a 0x0801 of 2013 and later."""
    fields = {
        "media_id": media_id,
        "media_type": 0,
        "media_format": 0,
        "event_code": 0,
        "channel_id": 1,
        "location": location(41.8, 123.4, datetime(2026, 11, 21, tzinfo=UTC)),
        "media_data": random.Random(media_id).randbytes(size).hex(),
    }
    return encode_body(MEDIUM, Edition.E2013, fields)


async def send(device: Device, frames: list[Frame]) -> None:
    device.writer.write(b"".join(frame.encode() for frame in frames))
    await device.writer.drain()


async def next_message(device: Device) -> tuple[int, dict[str, Any]]:
    """Give id and fields of the next message that is no general reply."""
    while True:
        received = await device.answer()
        if received.frame.msg_id != GENERAL:
            fields = received.fields()
            assert isinstance(fields, dict)
            return received.frame.msg_id, fields


async def replies(device: Device, count: int) -> list[int]:
    """Give the serials that the next general replies name."""
    return [(await device.fields())["ack_serial"] for _ in range(count)]


def bodies(directory: Path, msg_id: int) -> dict[int, bytes]:
    """Give the bodies of an id's frames in the log, by serial."""
    frames = [parse(frame.content) for frame in logged(directory).frames]
    return {frame.serial: frame.body for frame in frames if frame.msg_id == msg_id}


@pytest.mark.parametrize("edition", [Edition.E2013, Edition.E2019])
@pytest.mark.parametrize("size", [30, 900], ids=["singly", "columns"])
async def test_lost_fragments_are_asked_for(tmp_path: Path, edition: Edition, size: int) -> None:
    async with running(tmp_path, repair_after_s=SOON_S) as gateway:
        device = await Device.connect(gateway, "13912345678", edition)
        await device.sign_in()
        body = bytes(5 * size)
        frames = pieces(device, 0x0704, body, size)
        there = [frames[0], frames[2], frames[4]]
        await send(device, there)
        assert await replies(device, 3) == [frame.serial for frame in there]
        received = await device.answer()
        assert received.frame.msg_id == ASK
        assert received.fields() == {
            "original_serial": frames[0].serial,
            "package_count": 2,
            "package_ids": [2, 4],
        }
        count_bytes = 2 if edition is Edition.E2019 else 1
        assert len(received.frame.body) == 2 + count_bytes + 4
        await send(device, [frames[1]])
        assert await replies(device, 1) == [frames[1].serial]
        assert (await next_message(device))[1]["package_ids"] == [4]
        await send(device, [frames[3]])
        assert await replies(device, 1) == [frames[3].serial]
        assert gateway._reception.repairs.requests == 2 and not len(gateway._reception.repairs)
    assert b"".join(bodies(tmp_path / "log", 0x0704).values()) and len(bodies(tmp_path / "log", 0x0704)) == 5


async def test_order_and_repetition_change_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, repair_after_s=1e9) as gateway:
        device = await Device.connect(gateway)
        await device.sign_in()
        frames = pieces(device, MEDIUM, picture(7))
        arriving = [*reversed(frames[1:]), frames[2], frames[1], frames[0]]
        await send(device, arriving)
        received = [await device.answer() for _ in range(len(arriving) + 1)]
        assert [each.frame.msg_id for each in received] == [GENERAL] * len(arriving) + [MEDIUM_REPLY]
        assert received[-1].frame.body == (7).to_bytes(4), "complete, and nothing behind it"
        await send(device, [frames[1]])
        received = [await device.answer() for _ in range(2)]
        assert [each.frame.msg_id for each in received] == [GENERAL, MEDIUM_REPLY], "its answer was lost"


@pytest.mark.parametrize("edition", list(Edition))
async def test_a_medium_is_complete_only_when_all_of_it_has_come(tmp_path: Path, edition: Edition) -> None:
    async with running(tmp_path, repair_after_s=SOON_S) as gateway:
        device = await Device.connect(gateway, "13912345678", edition)
        await device.sign_in()
        frames = pieces(device, MEDIUM, picture(9))
        await send(device, [*frames[:2], *frames[3:]])
        msg_id, fields = await next_message(device)
        assert (msg_id, fields["media_id"], fields["package_ids"]) == (MEDIUM_REPLY, 9, [3])
        if edition is Edition.E2011:
            assert fields["ack_serial"] == frames[-1].serial
        await send(device, [frames[2]])
        received = [await device.answer() for _ in range(2)]
        assert received[0].frame.msg_id == GENERAL
        whole = "00000009" if edition is not Edition.E2011 else f"{frames[2].serial:04x}0000000900"
        assert received[1].frame.body.hex() == whole


async def test_a_medium_without_its_first_fragment_has_no_id_yet(tmp_path: Path) -> None:
    async with running(tmp_path, repair_after_s=SOON_S) as gateway:
        device = await Device.connect(gateway)
        await device.sign_in()
        frames = pieces(device, MEDIUM, picture(9))
        await send(device, frames[1:])
        msg_id, fields = await next_message(device)
        assert (msg_id, fields["original_serial"], fields["package_ids"]) == (ASK, frames[0].serial, [1])
        await send(device, frames[:1])
        assert (await next_message(device)) == (MEDIUM_REPLY, {"media_id": 9})


async def test_two_pictures_at_once_are_asked_for_separately(tmp_path: Path) -> None:
    async with running(tmp_path, repair_after_s=SOON_S) as gateway:
        device = await Device.connect(gateway)
        await device.sign_in()
        first, second = pieces(device, MEDIUM, picture(1)), pieces(device, MEDIUM, picture(2))
        await send(device, [first[0], second[0], first[1], second[2], first[3], second[3]])
        asked = [await next_message(device) for _ in range(2)]
        assert {fields["media_id"]: fields["package_ids"] for _, fields in asked} == {
            1: [index for index in range(1, len(first) + 1) if index not in (1, 2, 4)],
            2: [index for index in range(1, len(second) + 1) if index not in (1, 3, 4)],
        }


async def test_a_medium_of_2011_counts_its_packets_itself(tmp_path: Path) -> None:
    async with running(tmp_path, repair_after_s=SOON_S) as gateway:
        device = await Device.connect(gateway, "13912345678", Edition.E2011)
        await device.sign_in()
        head = {"media_id": 5, "media_type": 0, "media_format": 0, "event_code": 0, "channel_id": 1}
        packets = [
            head | {"package_total": 3, "package_index": index, "media_data": "ff" * 50}
            for index in (1, 2, 3)
        ]
        for packet in (packets[0], packets[2]):
            device.terminal.say(MEDIUM, packet)
            device.terminal.heartbeat()
        device.flush()
        msg_id, fields = await next_message(device)
        assert (msg_id, fields["media_id"], fields["package_ids"]) == (MEDIUM_REPLY, 5, [2])
        serial = device.terminal.say(MEDIUM, packets[1])
        device.flush()
        msg_id, fields = await next_message(device)
        assert (msg_id, fields) == (
            MEDIUM_REPLY,
            {"ack_serial": serial, "media_id": 5, "package_count": 0, "package_ids": []},
        )


async def test_a_medium_in_one_piece_is_complete(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        device = await Device.connect(gateway)
        await device.sign_in()
        device.terminal.say(MEDIUM, picture(3, 100))
        device.flush()
        received = await device.answer()
        assert (received.frame.msg_id, received.fields()) == (MEDIUM_REPLY, {"media_id": 3})


async def test_perhaps_one_packet_of_several_is_never_called_complete(tmp_path: Path) -> None:
    """A terminal that has not registered here may be of 2011: a missing answer is safe, a false one not."""
    async with running(tmp_path) as gateway:
        device = await Device.connect(gateway)
        body = bytes.fromhex("00000005 00000001 00000003 00000002") + bytes(100)
        assert await device.result(device.terminal.say(MEDIUM, body)) == 0


async def test_fragments_of_2011_are_not_asked_for_by_a_message_it_has_not(tmp_path: Path) -> None:
    async with running(tmp_path, repair_after_s=SOON_S) as gateway:
        device = await Device.connect(gateway, "13912345678", Edition.E2011)
        await device.sign_in()
        await send(device, pieces(device, 0x0704, bytes(900))[1:])
        await replies(device, 2)
        await until(lambda: gateway._reception.repairs.requests)
        assert await device.result(device.terminal.heartbeat()) == 0


async def test_fragments_of_unknown_messages_are_not_asked_for(tmp_path: Path) -> None:
    async with running(tmp_path, repair_after_s=SOON_S) as gateway:
        device = await Device.connect(gateway)
        await device.sign_in()
        await send(device, pieces(device, 0x0F01, bytes(900))[1:])
        assert [(await device.fields())["result"] for _ in range(2)] == [3, 3]
        assert not len(gateway._reception.repairs)


async def test_a_new_gateway_asks_only_for_what_is_missing(tmp_path: Path) -> None:
    """The first gateway received 1, 2 and 5, the second one 4 and 6: 3 is missing."""
    async with running(tmp_path, repair_after_s=1e9) as gateway:
        device = await Device.connect(gateway)
        await device.sign_in()
        frames = pieces(device, MEDIUM, picture(9, 1700))
        assert len(frames) == 6
        await send(device, [frames[0], frames[1], frames[4]])
        await replies(device, 3)
    terminal = device.terminal
    async with running(tmp_path, repair_after_s=SOON_S) as gateway:
        device = await Device.connect(gateway)
        await device.sign_in()
        device.terminal = terminal
        await send(device, [frames[3], frames[5]])
        msg_id, fields = await next_message(device)
        assert (msg_id, fields["media_id"], fields["package_ids"]) == (MEDIUM_REPLY, 9, [3])
        await send(device, [frames[2]])
        assert await next_message(device) == (MEDIUM_REPLY, {"media_id": 9})
    assert len(bodies(tmp_path / "log", MEDIUM)) == 6


async def test_a_terminal_that_restarts_is_not_told_complete_for_its_older_picture(tmp_path: Path) -> None:
    async with running(tmp_path, repair_after_s=1e9) as gateway:
        older = await Device.connect(gateway)
        await older.sign_in()
        before = pieces(older, MEDIUM, picture(1))
        await send(older, before)
        assert await next_message(older) == (MEDIUM_REPLY, {"media_id": 1})
        newer = await Device.connect(gateway)
        assert await newer.result(newer.terminal.heartbeat()) == 0
        await newer.come_back(gateway)
        after = pieces(newer, MEDIUM, picture(2))
        assert before[0].serial == after[0].serial and len(before) == len(after)
        await send(newer, after[:-1])
        assert await replies(newer, len(after) - 1) == [frame.serial for frame in after[:-1]]
        await send(newer, after[-1:])
        assert await next_message(newer) == (MEDIUM_REPLY, {"media_id": 2})


async def test_complete_is_said_only_when_all_is_durable(tmp_path: Path) -> None:
    disk = FaultyDisk()
    log = LogWriter(tmp_path / "log", storage=disk)
    async with running(tmp_path, log) as gateway:
        device = await Device.connect(gateway)
        await device.sign_in()
        frames = pieces(device, MEDIUM, picture(4))
        await send(device, frames[:-1])
        await replies(device, len(frames) - 1)
        disk.fails = with_the_next_frame(gateway)
        await send(device, frames[-1:])
        await until(lambda: gateway.health()["fault"])
        assert not device.received and gateway.health()["answers"] == 2 + len(frames) - 1 + 1
        assert log.durable < log.append.__self__._next[1]
        disk.fails = lambda what: False
        assert await next_message(device) == (MEDIUM_REPLY, {"media_id": 4})
    log.close()


@pytest.mark.parametrize("seed", range(4))
async def test_a_bad_network_delivers_every_picture(tmp_path: Path, seed: int) -> None:
    """Fragments are lost, repeated, swapped, asked for and lost again; the gateway restarts in between."""
    dice = random.Random(seed)

    async def over(device: Device, frames: list[Frame]) -> None:
        kept = [frame for frame in frames if dice.random() < 0.7 for _ in range(dice.choice([1, 1, 2]))]
        dice.shuffle(kept)
        await send(device, kept)

    done: set[int] = set()
    uploads: dict[int, list[Frame]] = {}
    terminal = None
    for first_try in (True, False):
        async with running(tmp_path, repair_after_s=SOON_S) as gateway:
            device = await Device.connect(gateway)
            await device.sign_in()
            if first_try:
                terminal = device.terminal
                uploads = {number: pieces(device, MEDIUM, picture(number, 2000)) for number in (1, 2, 3)}
                for frames in uploads.values():
                    await over(device, frames)
            assert terminal is not None
            device.terminal = terminal
            if not first_try:
                for number in uploads.keys() - done:
                    await over(device, uploads[number])
            requests = 0
            while done != uploads.keys() and (requests < 2 or not first_try):
                msg_id, fields = await next_message(device)
                requests += 1
                if msg_id == ASK:
                    frames = next(
                        each for each in uploads.values() if each[0].serial == fields["original_serial"]
                    )
                elif "package_ids" in fields:
                    frames = uploads[fields["media_id"]]
                else:
                    done.add(fields["media_id"])
                    continue
                await over(device, [frames[index - 1] for index in fields["package_ids"]])
    found = bodies(tmp_path / "log", MEDIUM)
    for number, frames in uploads.items():
        assert b"".join(found[frame.serial] for frame in frames) == picture(number, 2000)


async def test_a_terminal_may_ask_for_fragments_of_ours(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        device = await Device.connect(gateway, "13912345678", Edition.E2019)
        await device.sign_in()
        text = bytes(range(256)) * 10
        assert gateway.send("404", 0x8108, text) is None
        serials = gateway.send("13912345678", 0x8108, text)
        assert serials is not None
        sent = [(await device.answer()).frame for _ in serials]
        assert b"".join(frame.body for frame in sent) == text
        assert [frame.serial for frame in sent] == list(serials)
        ask = {"original_serial": serials.start, "package_ids": [3, 1]}
        device.terminal.say(0x0005, ask)
        device.flush()
        assert [(await device.answer()).frame for _ in range(2)] == [sent[2], sent[0]], "the same to the byte"
        gone = ask | {"original_serial": (serials.start - 1) % 65536}
        assert await device.result(device.terminal.say(0x0005, gone)) == 1


def test_kept_packets_are_bounded() -> None:
    kept = KeptPackets()
    messages = [divide(Frame(0x8108, bytes(6), 2000 * number, bytes(1023 * 1500))) for number in range(5)]
    for frames in messages:
        kept.keep(frames)
    assert not kept.find(messages[0][0].serial, [1]) and kept.find(messages[-1][0].serial, [1500, 1501])
    assert kept._size <= MAX_KEPT_BYTES
    kept.keep(divide(Frame(0x8108, bytes(6), 9, bytes(MAX_KEPT_BYTES))))
    assert not kept.find(9, [1]) and kept._size == 0


async def test_the_time_is_told_in_utc(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        device = await Device.connect(gateway, "13912345678", Edition.E2019)
        device.terminal.say(0x0004)
        device.flush()
        msg_id, fields = await next_message(device)
        assert msg_id == 0x8004
        assert abs(fields["time"] - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.parametrize("key", [None, PublicKey(65537, bytes(range(128)))])
async def test_keys_are_exchanged_where_there_is_one(tmp_path: Path, key: PublicKey | None) -> None:
    async with running(tmp_path, public_key=key) as gateway:
        device = await Device.connect(gateway)
        await device.sign_in()
        device.terminal.say(0x0A00, {"rsa_e": 3, "rsa_n": bytes(128)})
        device.flush()
        received = await device.answer()
        if key is None:
            assert received.frame.msg_id == GENERAL
        else:
            assert received.frame.msg_id == 0x8A00
            assert received.fields() == {"rsa_e": 65537, "rsa_n": key.rsa_n.hex()}


async def test_of_strangers_nothing_is_remembered(tmp_path: Path) -> None:
    async with running(tmp_path, repair_after_s=SOON_S) as gateway:
        device = await Device.connect(gateway)
        frames = pieces(device, MEDIUM, picture(9))
        await send(device, frames)
        assert await replies(device, len(frames)) == [frame.serial for frame in frames]
        assert await device.result(device.terminal.heartbeat()) == 0, "and no 0x8800 before"
        assert not len(gateway._reception.repairs)
    async with running(tmp_path, repair_after_s=SOON_S) as gateway:
        assert not len(gateway._reception.repairs)


async def test_a_terminal_that_is_away_is_asked_when_it_is_back(tmp_path: Path) -> None:
    async with running(tmp_path, repair_after_s=SOON_S) as gateway:
        device = await Device.connect(gateway)
        await device.sign_in()
        frames = pieces(device, 0x0704, bytes(900))
        await send(device, frames[:2])
        await replies(device, 2)
        await device.close()
        await until(lambda: gateway.health()["connections"] == 0)
        await asyncio.sleep(0)
        device = await Device.connect(gateway)
        await device.sign_in()
        assert await device.result(device.terminal.heartbeat()) == 0
        assert (await next_message(device))[1]["package_ids"] == [3]

"""Defects read in other servers, each as a test that we do not have it: frames, messages, commands.

Those of sockets and sessions are in `tests/gateway`, those of storing in `tests/worker`, under the same name.
"""

import random
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from gateway.repairs import Repairs, request_message
from protocol.columns import FrameBatch, locations, scan
from protocol.commands import COMMANDS, Event, Outstanding, State, wait_s
from protocol.connection import Connection, Received, Role, Terminal
from protocol.deframer import Deframer, PlainFrame, RejectedBytes
from protocol.edition import Edition
from protocol.frame import Frame, escape
from protocol.message import Undecodable, decode_body, decode_frame, encode_body
from protocol.messages.location import location
from protocol.reassembly import Key, Limits, Reason, Reassembly, Status, fingerprint_of, key_of

NEW_YEAR = datetime(2025, 12, 31, 16, 0, 0, tzinfo=UTC)
"""Midnight in Beijing."""


def report(**fields: Any) -> bytes:
    return encode_body(0x0200, Edition.E2013, location(41.805123, 123.429096, NEW_YEAR, **fields))


def read(body: bytes) -> dict[str, Any]:
    fields = decode_body(0x0200, Edition.E2013, body)
    assert isinstance(fields, dict)
    return fields


def columns(*bodies: bytes) -> Any:
    """Read reports as columns."""
    plains = [Frame(0x0200, bytes(6), serial, body).plain() for serial, body in enumerate(bodies)]
    batch, bad = FrameBatch.from_plain(b"".join(plains), np.array([len(plain) for plain in plains]))
    assert not len(bad)
    return locations(batch)


def take(
    uploads: Reassembly[bytes], serial: int, numbered: tuple[int, int], body: bytes, at_us: int = 0
) -> Any:
    return uploads.take(
        key_of(1, 0x0801, serial, numbered),
        numbered[1],
        body,
        fingerprint=fingerprint_of(body),
        size=len(body),
        at_us=at_us,
    )


@pytest.mark.parametrize("first_serial", [0, 1, 300, 65534])
def test_a_request_carries_the_serial_of_the_first_packet(first_serial: int) -> None:
    """yezhihao MultiPacket.setSerialNo: the parameter hides the field, so every 0x8003 asks for serial -1."""
    repairs = Repairs(quiet_s=1.0)
    for index in (2, 4):
        frame = Frame(0x0704, bytes(6), (first_serial + index - 1) % 65536, b"x", fragment=(4, index))
        repairs.note(1, frame, Edition.E2013, now=0.0)
    (request,) = repairs.due(now=1.0)
    assert request_message(request, Edition.E2013) == (
        0x8003,
        {"original_serial": first_serial, "package_ids": [1, 3]},
    )


def test_two_uploads_of_equal_size_do_not_mix() -> None:
    """yezhihao MultiPacketDecoder: terminal, id and total are the key, so two pictures at once become one."""
    uploads = Reassembly[bytes]()
    bodies = [
        b"".join(taken.whole)
        for index in (1, 2, 3)
        for first_serial, letter in ((10, b"a"), (20, b"b"))
        if (taken := take(uploads, first_serial + index - 1, (3, index), letter)).status is Status.COMPLETING
    ]
    assert bodies == [b"aaa", b"bbb"]


def test_the_speed_is_the_speed() -> None:
    """yezhihao T0200.getSpeedKph: it divides the latitude."""
    body = report(speed_kmh=87.6)
    assert read(body)["speed_kmh"] == 87.6
    assert columns(body).speed_kmh.tolist() == [pytest.approx(87.6)]


def test_the_last_fragment_is_joined_once() -> None:
    """SmallChi DefaultMerger: the last fragment is appended twice."""
    uploads = Reassembly[bytes]()
    take(uploads, 1, (2, 1), b"head")
    assert b"".join(take(uploads, 2, (2, 2), b"tail").whole) == b"headtail"


def test_a_repeated_fragment_is_joined_once() -> None:
    """SmallChi DefaultMerger: fragments that come twice are counted twice."""
    uploads = Reassembly[bytes]()
    take(uploads, 1, (3, 1), b"a")
    assert take(uploads, 1, (3, 1), b"a").status is Status.REPEATED
    assert take(uploads, 3, (3, 3), b"c").status is Status.NEW
    assert take(uploads, 2, (3, 2), b"b").whole == [b"a", b"b", b"c"]
    assert take(uploads, 2, (3, 2), b"b").status is Status.REPEATED


def test_an_upload_that_timed_out_hinders_no_later_one() -> None:
    """SmallChi DefaultMerger: after a time-out the same terminal and id never merge again."""
    uploads = Reassembly[bytes](Limits(patience_us=10))
    take(uploads, 1, (2, 1), b"a", at_us=0)
    (lost,) = uploads.expire(10)
    assert (lost.reason, lost.upload.missing(), lost.upload.key) == (
        Reason.MISSING,
        [2],
        Key(1, 0x0801, 1, 2),
    )
    take(uploads, 1, (2, 1), b"a", at_us=20)
    assert take(uploads, 2, (2, 2), b"b", at_us=21).whole == [b"a", b"b"]


def test_incomplete_uploads_do_not_fill_the_memory() -> None:
    """zhoyq starter #7: sets that stay incomplete are never given back."""
    uploads = Reassembly[bytes](Limits(uploads=100, terminal_uploads=4))
    for serial in range(0, 60_000, 7):
        take(uploads, serial, (5, 1), b"x")
    assert len(uploads) == 4


def test_a_bad_frame_ends_nothing() -> None:
    """go-jt808 service/connection: one bad frame closes the link."""
    terminal, platform = Terminal("13912345678"), Connection(Role.PLATFORM)
    terminal.heartbeat()
    good = terminal.data_to_send()
    bad = bytearray(good)
    bad[5] ^= 1
    events = platform.receive(bytes(bad) + b"\x7e\x7d\x09\x7e" + good + b"\x7e\x00\x7e" + good, now=0.0)
    assert [type(event) for event in events] == [
        RejectedBytes,
        RejectedBytes,
        Received,
        RejectedBytes,
        Received,
    ]


def test_an_item_of_odd_length_costs_only_itself() -> None:
    """go-jt808 t_0x0200_addition: one item of a length it does not expect fails the whole position."""
    odd = bytes.fromhex("01 03 000102  30 01 1f  2a 05 0102030405  31 02 0007")
    body = report() + odd
    fields = read(body)
    assert fields["latitude_raw"] == 41805123 and fields["extras"]["0x30"] == 31
    found = columns(body)
    assert found.lat_raw.tolist() == [41805123] and found.items_ok.all() and not found.bad
    assert np.isnan(found.mileage_km).all(), "the mileage cannot be read, and nothing is invented"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_any_chunking_gives_the_same_frames(size: int) -> None:
    """fakeyanss read loop: it reads a byte at a time, and any error stops a link for a second."""
    terminal = Terminal("13912345678")
    for second in range(5):
        terminal.report(location(41.8, 123.4, NEW_YEAR, altitude_m=0x7D7E + second))
    stream = b"noise" + terminal.data_to_send()
    deframer = Deframer()
    found = [each for at in range(0, len(stream), size) for each in deframer.feed(stream[at : at + size])]
    assert found == Deframer().feed(stream)
    assert [isinstance(each, PlainFrame) for each in found] == [False] + [True] * 5


def test_the_checksum_decides_before_anything_is_answered() -> None:
    """lingxcom gateway: the answer is sent before the checksum is looked at."""
    terminal, platform = Terminal("13912345678"), Connection(Role.PLATFORM)
    terminal.report(location(41.8, 123.4, NEW_YEAR))
    wire = bytearray(terminal.data_to_send())
    wire[20] ^= 0x10
    for event in platform.receive(bytes(wire), now=0.0):
        assert isinstance(event, RejectedBytes) and event.reason == "bad_checksum"
    assert platform.data_to_send() == b"" and len(scan([bytes(wire)]).frames) == 0


def test_new_year_is_a_time_like_any_other() -> None:
    """lingxcom gateway: positions of New Year's night are rejected."""
    body = report()
    assert read(body)["time"] == NEW_YEAR
    found = columns(body)
    assert found.reported_us.tolist() == [int(NEW_YEAR.timestamp()) * 1_000_000] and not found.bad


def test_coordinates_keep_every_microdegree() -> None:
    """lingxcom gateway: single precision is a metre off at 120 degrees east."""
    dice = random.Random(1)
    sent = [(dice.randrange(90_000_000), dice.randrange(180_000_000)) for _ in range(200)]
    bodies = [
        encode_body(0x0200, Edition.E2013, location(lat / 1e6, lon / 1e6, NEW_YEAR)) for lat, lon in sent
    ]
    found = columns(*bodies)
    assert [
        (round(lat * 1e6), round(lon * 1e6)) for lat, lon in zip(found.lat, found.lon, strict=True)
    ] == sent
    for body, (lat, lon) in zip(bodies, sent, strict=True):
        fields = read(body)
        assert (round(fields["latitude"] * 1e6), round(fields["longitude"] * 1e6)) == (lat, lon)


def test_a_wrong_checksum_is_no_frame() -> None:
    """traccar Jt808FrameDecoder: escapes are undone and the checksum is never compared."""
    plain = bytearray(Frame(0x0002, bytes(6), 1, b"").plain())
    for bit in range(8 * len(plain)):
        damaged = bytearray(plain)
        damaged[bit // 8] ^= 1 << bit % 8
        wire = b"\x7e" + escape(bytes(damaged)) + b"\x7e"
        (found,) = Deframer().feed(wire)
        assert isinstance(found, RejectedBytes)
        assert len(scan([wire]).frames) == 0


@pytest.mark.parametrize("msg_id", [0x0704, 0x0801])
def test_a_fragment_is_never_read_as_the_whole(msg_id: int) -> None:
    """traccar Jt808ProtocolDecoder: fragments of 0x0704 and 0x0801 are decoded as if they were complete."""
    body = encode_body(0x0704, Edition.E2013, {"type": 0, "items": [location(41.8, 123.4, NEW_YEAR)] * 2})
    frame = Frame(msg_id, bytes(6), 1, body, fragment=(2, 1))
    assert isinstance(decode_frame(frame, Edition.E2013), Undecodable)
    plain = frame.plain()
    batch, _ = FrameBatch.from_plain(plain, np.array([len(plain)]))
    found = locations(batch)
    assert len(found) == 0 and not found.bad


def test_waits_between_retries_grow() -> None:
    """emqx_jt808_channel: the interval between retries is constant."""
    waits = [wait_s(5.0, retries) for retries in range(1, 6)]
    assert all(later == earlier * (n + 1) for n, (earlier, later) in enumerate(pairwise(waits), 1))


def test_a_command_nobody_answered_ends_in_a_state_of_its_own() -> None:
    """emqx_jt808_channel: when retries are exhausted the command disappears without a word."""
    sent = Outstanding(COMMANDS[0x8300], 1)
    given_up = sent.after(Event.TIME_OUT)
    assert given_up.state is State.TIMED_OUT
    late = given_up.told(0x0001, {"ack_serial": 1, "ack_msg_id": 0x8300, "result": 0})
    assert late.state is State.TIMED_OUT


def test_the_reply_to_a_command_in_pieces_names_its_last_serial() -> None:
    """go-jt808 issue 13: the reply carries the last fragment's serial and is not recognised."""
    sent = Outstanding(COMMANDS[0x8103], serial=65534, fragments=4)
    reply = {"ack_serial": 1, "ack_msg_id": 0x8103, "result": 0}
    assert sent.told(0x0001, reply).state is State.ANSWERED

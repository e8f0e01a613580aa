"""Frames and the stream: any bytes, any chunking, and a bad frame costs itself only."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.deframer import RejectedBytes
from protocol.errors import FrameError, LocalProtocolError
from protocol.jt809.framing import (
    HEADER_2011,
    HEADER_2019,
    MAX_FRAME,
    MAX_PLAIN,
    Deframer,
    Found,
    Frame,
    content_of,
    crc,
    deframe,
    escape,
    looks_2019,
    parse,
    unescape,
    verify,
)
from tests.jt809.strategies import frames
from tests.protocol.strategies import cut

KEEP_ALIVE = Frame(0x1005, 7, 210001, b"")

pieces = st.lists(
    frames().map(Frame.encode)
    | st.binary(max_size=30)
    | st.sampled_from((b"\x5b", b"\x5d", b"\x5a", b"\x5e", b"\x5b\x5d", KEEP_ALIVE.encode()[:-1])),
    max_size=8,
)
"""Streams as bad links make them: frames, halves of them, garbage, flags and escape bytes."""


def fed(*chunks: bytes) -> tuple[list[Found], bytes]:
    """What a fresh deframer finds, and its tail."""
    deframer = Deframer()
    found = [event for chunk in chunks for event in deframer.feed(chunk)]
    return found, bytes(deframer.tail)


def test_the_crc_is_the_one_of_the_catalogue() -> None:
    """CRC-16/CCITT with start 0xffff is known by its value over these nine digits."""
    assert crc(b"123456789") == 0x29B1
    assert crc(b"") == 0xFFFF


def test_headers_have_the_sizes_of_the_standard() -> None:
    assert (HEADER_2011.sizeof(), HEADER_2019.sizeof()) == (22, 30)


@given(st.binary(max_size=300))
def test_escaping_is_undone_and_leaves_no_flags(data: bytes) -> None:
    escaped = escape(data)
    assert not {0x5B, 0x5D} & set(escaped)
    assert unescape(escaped) == data


def test_every_escape() -> None:
    assert escape(bytes.fromhex("5b5a5d5e00")).hex() == "5a015a025e015e0200"


@given(frames())
def test_what_is_written_is_read(frame: Frame) -> None:
    plain = unescape(content_of(frame.encode()))
    assert plain == frame.plain() and len(plain) + 2 == frame.length
    assert parse(plain, is_2019=frame.is_2019) == frame


@given(st.binary(max_size=120))
def test_any_bytes_are_a_frame_or_an_error(data: bytes) -> None:
    for wire in (data, b"\x5b" + data + b"\x5d"):
        try:
            parse(unescape(content_of(wire)))
        except FrameError as error:
            assert error.reason and str(error)


def test_each_fault_has_its_name() -> None:
    plain = KEEP_ALIVE.plain()

    def reason(content: bytes) -> str:
        event = deframe(content)
        assert isinstance(event, RejectedBytes) and event.raw == content[:MAX_FRAME]
        return event.reason

    wrong_length = struct.pack(">I", 99) + plain[4:-2]
    assert reason(escape(plain[:20])) == "too_short"
    assert reason(escape(plain[:-1] + b"\0")) == "bad_checksum"
    assert reason(escape(wrong_length + crc(wrong_length).to_bytes(2))) == "bad_length"
    assert reason(b"\x5a\x03" + plain) == "bad_escape"
    assert reason(plain + b"\x5e") == "bad_escape"
    assert reason(b"x" * (MAX_FRAME + 1)) == "too_long"
    with pytest.raises(FrameError, match="2019 header"):
        parse(plain, is_2019=True)


@given(pieces, st.lists(st.integers(0, 1000), max_size=6))
def test_chunking_changes_nothing(pieces: list[bytes], at: list[int]) -> None:
    stream = b"".join(pieces)
    whole = fed(stream)
    assert fed(*cut(stream, at)) == whole
    assert fed(*(stream[i : i + 1] for i in range(len(stream)))) == whole


@given(pieces)
def test_every_byte_is_in_a_frame_or_rejected_or_pending(pieces: list[bytes]) -> None:
    stream = b"".join(pieces)
    found, tail = fed(stream)
    kept = b"".join(event.raw if isinstance(event, RejectedBytes) else escape(event) for event in found)
    flags = stream.count(b"\x5b") + stream.count(b"\x5d")
    assert len(stream) - flags <= len(kept + tail) <= len(stream)


@given(st.lists(frames(), min_size=2, max_size=6), st.data())
def test_a_bad_frame_costs_itself_only(good: list[Frame], data: st.DataObject) -> None:
    victim = data.draw(st.integers(0, len(good) - 1))
    wires = [frame.encode() for frame in good]
    wire = bytearray(wires[victim])
    wire[data.draw(st.integers(1, len(wire) - 2))] ^= data.draw(st.integers(1, 255))
    wires[victim] = bytes(wire)
    found, _ = fed(b"".join(wires))
    plain = [event for event in found if isinstance(event, bytes)]
    others = [frame.plain() for frame in good[:victim] + good[victim + 1 :]]
    assert [frame for frame in plain if frame in others] == others
    assert any(isinstance(event, RejectedBytes) for event in found)


def test_a_lost_end_flag_does_not_cost_the_next_frame() -> None:
    wire = KEEP_ALIVE.encode()
    found, _ = fed(wire[:-1] + wire + b"GET /\x5d" + wire)
    assert found == [
        RejectedBytes("unfinished", wire[1:-1]),
        KEEP_ALIVE.plain(),
        RejectedBytes("garbage", b"GET /\x5d"),
        KEEP_ALIVE.plain(),
    ]


def test_memory_is_bounded_whatever_arrives() -> None:
    block = b"x" * (MAX_FRAME // 3)
    for first, reason in ((b"", "garbage"), (b"\x5b", "unfinished")):
        deframer = Deframer()
        deframer.feed(first)
        for _ in range(8):
            deframer.feed(block)
            assert len(deframer.tail) <= MAX_FRAME + 1
        assert deframer.feed(b"\x5b") == [RejectedBytes(reason, b"x" * MAX_FRAME)]
        assert deframer.feed(KEEP_ALIVE.encode()[1:]) == [KEEP_ALIVE.plain()]


def test_the_edition_is_guessed_by_the_time_only() -> None:
    newer = Frame(0x1005, 1, 1, b"", time=1_769_800_000)
    assert looks_2019(newer.plain()) and not looks_2019(KEEP_ALIVE.plain())
    assert parse(newer.plain()) == newer and parse(KEEP_ALIVE.plain()) == KEEP_ALIVE
    login = Frame(0x1001, 1, 1, (20260131).to_bytes(4) + b"password" + bytes(34))
    assert parse(login.plain()) == login


@pytest.mark.parametrize(
    "frame",
    [
        Frame(0x10000, 1, 1, b""),
        Frame(0x1005, -1, 1, b""),
        Frame(0x1005, 1, 1, b"", protocol_version=b"\x01"),
        Frame(0x1005, 1, 1, b"", time=-1),
        Frame(0x1502, 1, 1, bytes(MAX_PLAIN)),
    ],
    ids=lambda frame: repr(frame)[:60],
)
def test_what_no_header_can_carry_is_our_own_mistake(frame: Frame) -> None:
    with pytest.raises(LocalProtocolError):
        frame.encode()


def test_the_longest_frame_is_read() -> None:
    frame = Frame(0x1500, 1, 1, b"\x5b" * (MAX_PLAIN - 24))
    found, _ = fed(frame.encode())
    assert found == [frame.plain()]
    verify(frame.plain())

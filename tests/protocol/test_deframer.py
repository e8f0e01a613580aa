"""Frames out of a stream: any bytes, any chunking, and a bad frame costs itself only."""

from hypothesis import given
from hypothesis import strategies as st

from protocol.deframer import Deframer, PlainFrame, RejectedBytes, deframe
from protocol.frame import MAX_FRAME, Frame, checksum, escape
from tests.protocol.strategies import cut, frames

FLAG = b"\x7e"
REPORT = Frame(0x0200, bytes.fromhex("013912345678"), 5, bytes(28))

pieces = st.lists(
    frames(st.binary(max_size=40)).map(Frame.encode)
    | st.binary(max_size=30)
    | st.just(FLAG)
    | st.just(b"x" * (MAX_FRAME + 1)),
    max_size=8,
)
"""Streams as bad links make them: frames, garbage, flags, and content that no frame can have."""


def fed(*chunks: bytes) -> tuple[list[PlainFrame | RejectedBytes], bytes]:
    """What a fresh deframer finds, and its tail."""
    deframer = Deframer()
    found = [event for chunk in chunks for event in deframer.feed(chunk)]
    assert len(deframer.tail) <= MAX_FRAME + 2
    return found, deframer.tail


@given(pieces, st.lists(st.integers(0, 5000), max_size=6))
def test_chunking_changes_nothing(pieces: list[bytes], at: list[int]) -> None:
    stream = b"".join(pieces)
    whole = fed(stream)
    assert fed(*cut(stream, at)) == whole
    assert fed(*(stream[i : i + 1] for i in range(len(stream)))) == whole


@given(st.binary(max_size=400))
def test_any_bytes_are_frames_or_rejected(data: bytes) -> None:
    found, _ = fed(data)
    for event in found:
        if isinstance(event, RejectedBytes):
            assert len(event.raw) <= MAX_FRAME


def test_memory_is_bounded_whatever_arrives() -> None:
    for first in (b"", FLAG):
        deframer = Deframer()
        deframer.feed(first)
        for _ in range(50):
            deframer.feed(b"x" * 1000)
        assert len(deframer.tail) == MAX_FRAME + 2
        (rejected,) = deframer.feed(FLAG)
        assert rejected == RejectedBytes("too_long" if first else "garbage", b"x" * MAX_FRAME)
        assert deframer.feed(REPORT.encode()) == [PlainFrame(REPORT.plain())]


@given(st.lists(frames(st.binary(max_size=40)), min_size=2, max_size=6), st.data())
def test_a_bad_frame_costs_itself_only(good: list[Frame], data: st.DataObject) -> None:
    victim = data.draw(st.integers(0, len(good) - 1))
    wires = [frame.encode() for frame in good]
    wire = bytearray(wires[victim])
    spot = data.draw(st.integers(1, len(wire) - 2))
    wire[spot] ^= data.draw(st.integers(1, 255))
    wires[victim] = bytes(wire)
    found, _ = fed(b"".join(wires))
    plain = [event.plain for event in found if isinstance(event, PlainFrame)]
    others = [frame.plain() for frame in good[:victim] + good[victim + 1 :]]
    assert [frame for frame in plain if frame in others] == others
    assert any(isinstance(event, RejectedBytes) for event in found)


def test_one_flag_may_end_a_frame_and_start_the_next() -> None:
    content = escape(REPORT.plain())
    found, tail = fed(FLAG + content + FLAG + content + FLAG + FLAG + content + FLAG)
    assert found == [PlainFrame(REPORT.plain())] * 3
    assert tail == FLAG


def test_a_lost_end_flag_does_not_cost_the_next_frame() -> None:
    content = escape(REPORT.plain())
    half = content[:20]
    found, _ = fed(FLAG + half + FLAG + content + FLAG)
    assert found == [RejectedBytes("bad_checksum", half), PlainFrame(REPORT.plain())]
    found, _ = fed(FLAG + half + FLAG + FLAG + content + FLAG)
    assert found == [RejectedBytes("bad_checksum", half), PlainFrame(REPORT.plain())]


def test_what_stands_before_the_first_flag_is_garbage() -> None:
    found, _ = fed(b"GET / HTTP/1.1\r\n" + REPORT.encode())
    assert found == [RejectedBytes("garbage", b"GET / HTTP/1.1\r\n"), PlainFrame(REPORT.plain())]


def test_every_reason() -> None:
    plain = REPORT.plain()
    wrong_length = bytes((*plain[:3], 0x1B, *plain[4:-1]))
    assert deframe(b"short") == RejectedBytes("too_short", b"short")
    assert deframe(b"x" * (MAX_FRAME + 1)).raw == b"x" * MAX_FRAME  # type: ignore[union-attr]
    assert deframe(plain[:-1] + b"\x55").reason == "bad_checksum"  # type: ignore[union-attr]
    assert deframe(wrong_length + bytes((checksum(wrong_length),))).reason == "bad_length"  # type: ignore[union-attr]
    assert deframe(b"\x7d\x03" + plain).reason == "bad_escape"  # type: ignore[union-attr]


def test_an_unescaped_checksum_of_7d_is_accepted_and_marked() -> None:
    serial = next(s for s in range(256) if Frame(2, bytes(6), s, b"").plain()[-1] == 0x7D)
    plain = Frame(2, bytes(6), serial, b"").plain()
    assert deframe(plain) == PlainFrame(plain, is_canonical=False)
    assert deframe(escape(plain)) == PlainFrame(plain)
    assert PlainFrame(plain, is_canonical=False).wire == FLAG + plain + FLAG
    assert PlainFrame(plain).wire == FLAG + plain[:-1] + b"\x7d\x01" + FLAG

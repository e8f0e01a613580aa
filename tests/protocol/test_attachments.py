"""Attachment links: packets of files between frames, in any chunking, and what of a file is missing."""

from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.attachments import (
    DEFAULT_PACKET,
    HEAD_SIZE,
    MARK,
    MAX_MISSING,
    MAX_PACKET,
    AttachmentDeframer,
    Event,
    FilePart,
    Upload,
    encode_packet,
)
from protocol.deframer import PlainFrame, RejectedBytes
from protocol.errors import LocalProtocolError
from protocol.frame import MAX_FRAME, Frame
from tests.protocol.strategies import cut

HELLO = Frame(0x1211, bytes.fromhex("013912345678"), 1, b"\x05a.jpg\x00\x00\x00\x00\x20").encode()
DONE = Frame(0x1212, bytes.fromhex("013912345678"), 2, b"\x05a.jpg\x00\x00\x00\x00\x20").encode()


def joined(events: list[Event]) -> list[Event]:
    """Put the parts of each packet together, so that chunking does not show."""
    whole: list[Event] = []
    for event in events:
        last = whole[-1] if whole else None
        if (
            isinstance(event, FilePart)
            and isinstance(last, FilePart)
            and (last.file_name, last.offset + len(last.data)) == (event.file_name, event.offset)
        ):
            whole[-1] = last._replace(data=last.data + event.data)
        else:
            whole.append(event)
    return whole


def received(stream: bytes, marks: list[int] | None = None) -> list[Event]:
    deframer = AttachmentDeframer()
    return joined([event for chunk in cut(stream, marks or []) for event in deframer.feed(chunk)])


pieces = st.one_of(
    st.just(HELLO),
    st.just(DONE),
    st.just(HELLO[:-1]),
    st.just(HELLO[:-1] + DONE),
    st.binary(max_size=80),
    st.builds(encode_packet, st.just("a.jpg"), st.integers(0, 1 << 31), st.binary(max_size=200)),
    st.builds(lambda n: MARK[:n], st.integers(0, 4)),
    st.builds(lambda tail: MARK + bytes(50) + tail, st.binary(min_size=8, max_size=40)),
    st.just(b"x" * (MAX_FRAME + 2)),
)


def test_packets_stand_between_frames() -> None:
    file = bytes(range(256)) + b"\x7e01cd\x7d"
    stream = HELLO + encode_packet("a.jpg", 0, file) + encode_packet("a.jpg", len(file), file) + DONE
    first, data, last = received(stream)
    assert isinstance(first, PlainFrame) and first.wire == HELLO
    assert data == FilePart("a.jpg", 0, file + file)
    assert isinstance(last, PlainFrame) and last.wire == DONE


def test_a_packet_may_be_as_long_as_the_standard_says() -> None:
    data = b"\x7e" * DEFAULT_PACKET
    assert received(encode_packet("a.jpg", 7, data) + DONE)[0] == FilePart("a.jpg", 7, data)


@given(st.lists(pieces, max_size=8), st.lists(st.integers(0, 1 << 16), max_size=12))
def test_chunking_does_not_matter(parts: list[bytes], marks: list[int]) -> None:
    stream = b"".join(parts)
    assert received(stream, marks) == received(stream)


@given(st.lists(pieces, max_size=8))
def test_good_frames_behind_a_flag_survive_anything(parts: list[bytes]) -> None:
    """Whatever came before, as long as no packet is open: two flags and a frame, and the frame is there."""
    deframer = AttachmentDeframer()
    deframer.feed(b"".join(parts))
    deframer.feed(bytes(deframer.remaining))
    events = deframer.feed(bytes(HEAD_SIZE + MAX_FRAME) + b"\x7e" + HELLO)
    assert [event.wire for event in events if isinstance(event, PlainFrame)][-1:] == [HELLO] or (
        deframer.remaining
    )


@given(st.lists(st.binary(max_size=3000) | pieces, max_size=12))
def test_memory_is_bounded(parts: list[bytes]) -> None:
    deframer = AttachmentDeframer()
    for part in parts:
        deframer.feed(part)
        assert len(deframer.tail) < MAX_FRAME + HEAD_SIZE
    assert deframer.remaining <= MAX_PACKET


def test_a_length_beyond_all_bounds_is_rejected_and_the_next_frame_is_read() -> None:
    head = MARK + b"a.jpg".ljust(50, b"\0") + (0).to_bytes(4) + (MAX_PACKET + 1).to_bytes(4)
    too_long, garbage, frame = received(head + HELLO)
    assert too_long == RejectedBytes("too_long", head)
    assert garbage == RejectedBytes("garbage", head[4:])
    assert isinstance(frame, PlainFrame)


def test_a_shared_flag_ends_one_frame_and_begins_the_next() -> None:
    assert [type(event) for event in received(HELLO + DONE[1:])] == [PlainFrame, PlainFrame]
    assert [type(event) for event in received(HELLO[:-1] + b"\x7e" + encode_packet("a", 0, b"x"))] == [
        PlainFrame,
        FilePart,
    ]


def test_what_no_packet_can_carry_is_our_own_mistake() -> None:
    with pytest.raises(LocalProtocolError, match="50"):
        encode_packet("照" * 26, 0, b"")
    with pytest.raises(LocalProtocolError, match=str(MAX_PACKET)):
        encode_packet("a", 0, bytes(MAX_PACKET + 1))
    with pytest.raises(LocalProtocolError, match="first"):
        encode_packet("a", (1 << 32) - 1, b"xy")


@given(st.integers(0, 60), st.lists(st.tuples(st.integers(0, 70), st.integers(0, 20)), max_size=12))
def test_missing_is_what_no_part_covers(size: int, parts: list[tuple[int, int]]) -> None:
    upload, there = Upload(size), set[int]()
    for offset, length in parts:
        upload.add(offset, length)
        there |= set(range(offset, min(offset + length, size)))
    gaps = upload.missing()
    covered = [at for gap in gaps for at in range(gap["offset"], gap["offset"] + gap["length"])]
    assert covered == sorted(set(range(size)) - there)
    assert upload.is_complete == (not covered)
    edges = [number for gap in gaps for number in (gap["offset"], gap["offset"] + gap["length"])]
    assert [number for number, _ in groupby(edges)] == edges, "gaps that touch are one gap"


def test_no_more_gaps_are_asked_for_than_fit() -> None:
    upload = Upload(4 * MAX_MISSING)
    for at in range(0, upload.size, 2):
        upload.add(at, 1)
    assert upload.missing()[0] == {"offset": 1, "length": 1}
    assert len(upload.missing()) == MAX_MISSING and not upload.is_complete

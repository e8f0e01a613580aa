"""Columns find what one `Deframer` for each link finds, whatever arrives in whatever chunks."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from protocol.columns import FrameBatch, rejoin, scan
from protocol.deframer import Deframer, PlainFrame, RejectedBytes
from protocol.frame import MAX_FRAME, Frame, checksum, escape, parse
from tests.protocol.strategies import cut, frames

FLAG = b"\x7e"
REPORT = Frame(0x0200, bytes.fromhex("013912345678"), 5, bytes(28))

awkward = st.lists(st.sampled_from(b"\x7d\x7e\x01\x02\x03\x00\x40"), max_size=40).map(bytes)
"""Bytes in which nearly everything is a flag, an escape or the half of one."""


@st.composite
def unescaped_checksums(draw: st.DrawFn) -> bytes:
    """A frame whose checksum is 0x7d and was not escaped."""
    frame = draw(frames(awkward))
    body = frame.body[:1000]
    balanced = Frame(frame.msg_id, frame.raw_id, frame.serial, body + b"\0", frame.version, frame.fragment)
    last = bytes((balanced.plain()[-1] ^ 0x7D,))
    plain = Frame(
        frame.msg_id, frame.raw_id, frame.serial, body + last, frame.version, frame.fragment
    ).plain()
    return FLAG + escape(plain[:-1]) + plain[-1:] + FLAG


@st.composite
def claimed_2019(draw: st.DrawFn) -> bytes:
    """A frame with the 2013 header whose bit 14 says otherwise, as some devices send it."""
    plain = bytearray(draw(frames(awkward)).plain())
    plain[2] |= 0x40
    return FLAG + escape(bytes((*plain[:-1], checksum(plain[:-1])))) + FLAG


streams = st.lists(
    frames(awkward | st.binary(max_size=60)).map(Frame.encode)
    | unescaped_checksums()
    | claimed_2019()
    | awkward
    | st.binary(max_size=30)
    | st.just(FLAG)
    | st.just(b"x" * (MAX_FRAME + 1)),
    max_size=6,
).map(b"".join)
cuts = st.lists(st.integers(0, 5000), max_size=4)


def same(chunks: list[bytes], deframers: list[Deframer], fed: list[bytes]) -> list[bytes]:
    """Compare one scan with one deframer for each chunk, and give the scan's tails."""
    wire = scan([rejoin(chunk, data) for chunk, data in zip(chunks, fed, strict=True)])
    assert (np.diff(wire.source) >= 0).all()
    for index, (deframer, data) in enumerate(zip(deframers, fed, strict=True)):
        found = deframer.feed(data)
        rows = (wire.source == index).nonzero()[0].tolist()
        plain = [PlainFrame(wire.frames.plain(row), not wire.raw[row]) for row in rows]
        assert plain == [event for event in found if isinstance(event, PlainFrame)]
        rejected = [RejectedBytes(each.reason, each.raw) for each in wire.rejected if each.source == index]
        assert rejected == [event for event in found if isinstance(event, RejectedBytes)]
        assert wire.tails[index] == deframer.tail
    return wire.tails


@given(st.lists(st.tuples(streams, cuts), min_size=1, max_size=4))
def test_finds_what_deframers_find(links: list[tuple[bytes, list[int]]]) -> None:
    received = [[chunk for chunk in cut(stream, at) if chunk] for stream, at in links]
    deframers = [Deframer() for _ in links]
    tails = [b"" for _ in links]
    for turn in range(max(map(len, received))):
        sending = [index for index, chunks in enumerate(received) if turn < len(chunks)]
        new_tails = same(
            [tails[index] for index in sending],
            [deframers[index] for index in sending],
            [received[index][turn] for index in sending],
        )
        for index, tail in zip(sending, new_tails, strict=True):
            tails[index] = tail


@given(st.lists(st.binary(max_size=50) | awkward, max_size=5))
def test_any_bytes(chunks: list[bytes]) -> None:
    same([b""] * len(chunks), [Deframer() for _ in chunks], chunks)


def test_nothing_is_an_empty_batch() -> None:
    for chunks in ([], [b""], [FLAG], [b"", FLAG * 3, b"no flag"]):
        wire = scan(chunks)
        assert (len(wire.frames), len(wire.source), wire.rejected) == (0, 0, [])
        assert len(wire.tails) == len(chunks)


def test_a_tick_of_a_thousand_links() -> None:
    sent = [Frame(0x0002, bytes.fromhex("013912345678"), serial, b"") for serial in range(1000)]
    wire = scan([frame.encode() for frame in sent])
    assert [parse(wire.frames.plain(row)).serial for row in range(1000)] == list(range(1000))
    assert wire.source.tolist() == list(range(1000))
    assert wire.tails == [FLAG] * 1000


@given(st.lists(st.tuples(streams, cuts), min_size=1, max_size=4), st.integers(2, 4))
def test_what_is_rejected_beyond_a_number_comes_together(
    links: list[tuple[bytes, list[int]]], most: int
) -> None:
    chunks = [stream for stream, _ in links]
    whole, bounded = scan(chunks), scan(chunks, most)
    assert whole.frames.length.tolist() == bounded.frames.length.tolist()
    for index in range(len(chunks)):
        all_of_it = [each for each in whole.rejected if each.source == index]
        found = [each for each in bounded.rejected if each.source == index]
        assert len(found) <= most + 1  # and what stood before the first flag
        assert sum(each.pieces for each in found) == len(all_of_it)
        assert FLAG.join(each.raw for each in found) == FLAG.join(each.raw for each in all_of_it)
        alone = [each for each in found if each.pieces == 1 and each.reason != "garbage"]
        assert alone == [each for each in all_of_it if each.reason != "garbage"][: len(alone)]


def test_every_reason() -> None:
    plain = REPORT.plain()
    wrong_length = bytes((*plain[:3], 0x1B, *plain[4:-1]))
    bad = {
        "too_long": b"x" * (MAX_FRAME + 1),
        "bad_escape": b"\x7d\x03" + plain,
        "too_short": b"short",
        "bad_checksum": plain[:-1] + b"\x55",
        "bad_length": wrong_length + bytes((checksum(wrong_length),)),
    }
    wire = scan([b"garbage" + FLAG + FLAG.join(bad.values()) + REPORT.encode() + b"more"])
    assert [each.reason for each in wire.rejected] == ["garbage", *bad]
    assert [each.raw for each in wire.rejected] == [b"garbage", *(raw[:MAX_FRAME] for raw in bad.values())]
    assert [wire.frames.plain(row) for row in range(len(wire.frames))] == [plain]
    assert wire.tails == [FLAG + b"more"]


def headers(batch: FrameBatch, row: int) -> tuple[object, ...]:
    key = int(batch.key_high[row]) << 64 | int(batch.key_low[row])
    version = int(batch.version[row]) if batch.is_2019[row] else None
    return (
        batch.msg_id[row],
        batch.serial[row],
        f"{key:X}",
        version,
        batch.attributes[row],
        batch.cipher[row],
        batch.is_fragment[row],
        batch.body(row),
    )


@given(st.lists(st.tuples(frames(), st.integers(0, 7), st.booleans()), max_size=8))
def test_headers_are_those_of_parse(drawn: list[tuple[Frame, int, bool]]) -> None:
    plains = []
    for frame, cipher, claims_2019 in drawn:
        plain = bytearray(frame.plain())
        plain[2] |= cipher << 2 | claims_2019 << 6
        plains.append(bytes((*plain[:-1], checksum(plain[:-1]))))
    batch, others = FrameBatch.from_plain(b"".join(plains), [len(plain) for plain in plains])
    assert others.tolist() == []
    for row, plain in enumerate(plains):
        frame = parse(plain)
        assert headers(batch, row) == (
            frame.msg_id,
            frame.serial,
            frame.identity,
            frame.version,
            frame.attributes,
            frame.cipher,
            frame.fragment is not None,
            frame.body,
        )
        assert batch.plain(row) == plain


@given(st.lists(frames(st.binary(max_size=40)), max_size=6), st.data())
def test_from_plain_sets_aside_what_has_another_length(sent: list[Frame], data: st.DataObject) -> None:
    plains = [frame.plain() for frame in sent]
    broken = data.draw(st.sets(st.integers(0, len(sent) - 1), max_size=3)) if sent else set()
    for index in broken:
        plains[index] = data.draw(st.binary(max_size=12))
    batch, others = FrameBatch.from_plain(b"".join(plains), [len(plain) for plain in plains])
    assert others.tolist() == sorted(broken)
    kept = [plain for index, plain in enumerate(plains) if index not in broken]
    assert [batch.plain(row) for row in range(len(batch))] == kept


@given(st.lists(frames(st.binary(max_size=20)), max_size=8), st.data())
def test_packed_rows_stand_back_to_back(sent: list[Frame], data: st.DataObject) -> None:
    batch = scan([FLAG.join(frame.encode() + b"noise" for frame in sent)]).frames
    rows = np.array(sorted(data.draw(st.sets(st.integers(0, max(len(sent) - 1, 0))))), np.int64)
    rows = rows[rows < len(sent)]
    packed, lengths = batch.packed(rows)
    assert packed.tobytes() == b"".join(sent[row].plain() for row in rows.tolist())
    assert lengths.tolist() == [len(sent[row].plain()) for row in rows.tolist()]
    assert batch.packed()[0].tobytes() == b"".join(frame.plain() for frame in sent)

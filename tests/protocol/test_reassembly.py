"""Messages in pieces: any loss, repetition and order gives the original bodies, or says what is missing."""

import random
from collections import Counter
from typing import Any, NamedTuple

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from protocol.frame import SERIALS
from protocol.reassembly import (
    MAX_TOTAL,
    MINUTE_US,
    Forgotten,
    Key,
    Limits,
    Reason,
    Reassembly,
    Status,
    Taken,
    Upload,
    fingerprint_of,
    is_sensible,
    key_of,
)
from tests.counting import counted

SECOND_US = 1_000_000


class Sent(NamedTuple):
    """One fragment on its way."""

    key: Key
    index: int
    serial: int
    body: bytes


def fragments(terminal: int, msg_id: int, first_serial: int, pieces: list[bytes]) -> list[Sent]:
    key = Key(terminal, msg_id, first_serial, len(pieces))
    return [
        Sent(key, index, (first_serial + index - 1) % SERIALS, piece) for index, piece in enumerate(pieces, 1)
    ]


def take(uploads: Reassembly[bytes], sent: Sent, at_us: int = 0) -> Taken[bytes]:
    key = key_of(sent.key.terminal, sent.key.msg_id, sent.serial, (sent.key.total, sent.index))
    return uploads.take(
        key,
        sent.index,
        sent.body,
        fingerprint=fingerprint_of(sent.body),
        size=len(sent.body),
        at_us=at_us,
    )


@st.composite
def several_uploads(draw: Any) -> list[list[Sent]]:
    """Uploads of two terminals, many with equal id, total and contents, numbered as terminals do."""
    uploads = []
    next_serial = {terminal: draw(st.integers(0, SERIALS - 1)) for terminal in (1, 2)}
    for _ in range(draw(st.integers(1, 6))):
        terminal = draw(st.sampled_from((1, 2)))
        pieces = draw(st.lists(st.binary(max_size=3), min_size=1, max_size=5))
        uploads.append(
            fragments(terminal, draw(st.sampled_from((0x0704, 0x0801))), next_serial[terminal], pieces)
        )
        next_serial[terminal] = (next_serial[terminal] + len(pieces) + draw(st.integers(0, 2))) % SERIALS
    return uploads


@given(uploads=several_uploads(), data=st.data())
def test_any_loss_repetition_and_order_gives_the_bodies_or_names_the_gap(
    uploads: list[list[Sent]], data: st.DataObject
) -> None:
    everything = [sent for upload in uploads for sent in upload]
    arriving = data.draw(st.lists(st.sampled_from(everything), max_size=3 * len(everything)))
    lost = set(everything) - set(arriving)
    reassembly = Reassembly[bytes]()
    bodies: list[tuple[Key, bytes]] = []
    for at_us, sent in enumerate(arriving):
        taken = take(reassembly, sent, at_us)
        assert not taken.forgotten
        if taken.status is Status.COMPLETING:
            bodies.append((sent.key, b"".join(taken.whole)))
    given_up = reassembly.expire(10 * MINUTE_US + len(arriving))
    expected = {
        upload[0].key: b"".join(sent.body for sent in upload)
        for upload in uploads
        if not lost.intersection(upload)
    }
    assert dict(bodies) == expected and len(bodies) == len(expected)
    begun = {sent.key for sent in arriving} - expected.keys()
    assert {each.upload.key for each in given_up} == begun
    for each in given_up:
        assert each.reason is Reason.MISSING
        assert each.upload.missing() == [sent.index for sent in sorted(lost) if sent.key == each.upload.key]
        assert each.pieces == [
            sent.body for sent in everything if sent.key == each.upload.key and sent not in lost
        ]
    assert not len(reassembly)


@given(uploads=several_uploads(), seed=st.integers(0, 2**32), data=st.data())
def test_what_is_kept_and_restored_goes_on_the_same(
    uploads: list[list[Sent]], seed: int, data: st.DataObject
) -> None:
    arriving = [sent for upload in uploads for sent in upload for _ in range(2)]
    random.Random(seed).shuffle(arriving)
    cut = data.draw(st.integers(0, len(arriving)))
    calm, restored = Reassembly[bytes](), Reassembly[bytes]()
    for at_us, sent in enumerate(arriving):
        if at_us == cut:
            kept = msgspec.msgpack.encode(list(restored))
            restored = Reassembly(uploads=msgspec.msgpack.decode(kept, type=list[Upload[bytes]]))
        assert take(calm, sent, at_us) == take(restored, sent, at_us)
    assert calm.expire(1 << 50) == restored.expire(1 << 50)


@given(data=st.data())
def test_nothing_taken_disappears_and_nothing_outgrows_its_limits(data: st.DataObject) -> None:
    limits = Limits(patience_us=20, terminal_uploads=3, terminal_bytes=40, uploads=5, bytes=60)
    reassembly = Reassembly[tuple[int, bytes]](limits)
    given_back: list[tuple[int, bytes]] = []
    taken: list[tuple[int, bytes]] = []
    for at_us in range(data.draw(st.integers(0, 60))):
        total = data.draw(st.integers(1, 4))
        key = Key(data.draw(st.integers(1, 3)), 0x0801, data.draw(st.integers(0, 2)), total)
        index = data.draw(st.integers(1, total))
        body = data.draw(st.binary(max_size=50))
        piece = (at_us, body)
        found = reassembly.take(
            key, index, piece, fingerprint=fingerprint_of(body), size=len(body), at_us=at_us
        )
        forgotten = found.forgotten + reassembly.expire(at_us)
        given_back += found.whole + [each for one in forgotten for each in one.pieces]
        if found.status is not Status.REPEATED:
            taken.append(piece)
        held = list(reassembly.waiting())
        assert len(held) <= limits.uploads and sum(upload.size for upload in held) <= limits.bytes
        for terminal in (1, 2, 3):
            own = [upload for upload in held if upload.key.terminal == terminal]
            assert len(own) <= limits.terminal_uploads
            assert sum(upload.size for upload in own) <= limits.terminal_bytes
    still = [piece for upload in reassembly for piece in upload.pieces.values()]
    assert Counter(given_back + still) == Counter(taken)


def test_the_serial_of_the_first_fragment_wraps() -> None:
    keys = {
        key_of(1, 0x0801, serial, (4, index)) for serial, index in ((65534, 1), (65535, 2), (0, 3), (1, 4))
    }
    assert keys == {Key(1, 0x0801, 65534, 4)}


def test_numbers_that_cannot_be_right() -> None:
    longest = (MAX_TOTAL, MAX_TOTAL)
    right = [(2, 2), (1, 1), longest]
    wrong = [(0, 0), (2, 0), (2, 3), (MAX_TOTAL + 1, 1), (0xFFFF, 1)]
    assert all(is_sensible(*numbers) for numbers in right)
    assert not any(is_sensible(*numbers) for numbers in wrong)


def test_a_terminal_that_restarts_begins_another_upload_under_the_same_name() -> None:
    reassembly = Reassembly[bytes]()
    before, after = (fragments(1, 0x0801, 0, [first, b"-", b"end"]) for first in (b"old", b"new"))
    take(reassembly, before[0])
    take(reassembly, before[1])
    taken = take(reassembly, after[0])
    (forgotten,) = taken.forgotten
    assert (forgotten.reason, forgotten.pieces) == (Reason.SUPERSEDED, [b"old", b"-"])
    take(reassembly, after[1])
    assert take(reassembly, after[2]).whole == [b"new", b"-", b"end"]
    for sent in after:
        assert take(reassembly, sent).status is Status.REPEATED
    assert take(reassembly, before[0]).status is Status.NEW, "a complete one gives its name away silently"


def test_patience_counts_from_the_last_new_fragment() -> None:
    reassembly = Reassembly[bytes](Limits(patience_us=10 * SECOND_US))
    first, second, _ = fragments(1, 0x0801, 7, [b"a", b"b", b"c"])
    take(reassembly, first, 0)
    take(reassembly, second, 8 * SECOND_US)
    take(reassembly, second, 17 * SECOND_US)
    assert reassembly.expire(17 * SECOND_US) == []
    (forgotten,) = reassembly.expire(18 * SECOND_US)
    assert isinstance(forgotten, Forgotten) and forgotten.upload.missing() == [3]


def test_what_goes_on_for_too_long_is_given_up() -> None:
    """A new fragment every ten minutes held a place, and the log, for a year."""
    reassembly = Reassembly[bytes]()
    pieces = fragments(1, 0x0801, 0, [bytes([number]) for number in range(9)])
    for minute, sent in zip(range(0, 45, 5), pieces, strict=True):
        given_up = reassembly.expire(minute * MINUTE_US)
        if minute < 30:
            assert not given_up
            take(reassembly, sent, minute * MINUTE_US)
        elif minute == 30:
            (forgotten,) = given_up
            assert forgotten.reason is Reason.OVERDUE
            assert forgotten.pieces == [sent.body for sent in pieces[:6]]
    assert not len(reassembly) and not reassembly._begun


@given(there=st.sets(st.integers(1, MAX_TOTAL), max_size=50), most=st.integers(0, 600))
def test_what_is_missing_is_named_up_to_a_number(there: set[int], most: int) -> None:
    upload = Upload[None](Key(1, 0x0801, 0, MAX_TOTAL), 0, 0, dict.fromkeys(there, 0))
    missing = [index for index in range(1, MAX_TOTAL + 1) if index not in there]
    assert upload.missing_count == len(missing)
    assert upload.missing(most) == missing[:most]
    lines = counted(lambda: upload.missing(most))
    assert lines <= 10 + 2 * (most + len(there)), "and not all the others that are missing"


def test_the_longest_silent_upload_makes_room() -> None:
    reassembly = Reassembly[bytes](Limits(terminal_uploads=2))
    one, two, three = (fragments(1, 0x0801, serial, [b"a", b"b"]) for serial in (0, 10, 20))
    take(reassembly, one[0])
    take(reassembly, two[0])
    (forgotten,) = take(reassembly, three[0]).forgotten
    assert (forgotten.reason, forgotten.upload.key.number) == (Reason.CROWDED_OUT, 0)
    assert take(reassembly, two[1]).status is Status.COMPLETING
    assert not take(reassembly, one[0]).forgotten, "a complete one takes no room"
    assert {upload.key.number for upload in reassembly.waiting()} == {20, 0}


def test_complete_uploads_are_remembered_up_to_a_limit() -> None:
    reassembly = Reassembly[bytes](Limits(complete=2))
    for serial in range(3):
        assert take(reassembly, fragments(1, 0x0900, serial, [b"a"])[0]).whole == [b"a"]
    statuses = [take(reassembly, fragments(1, 0x0900, serial, [b"a"])[0]).status for serial in (2, 1, 0)]
    assert statuses == [Status.REPEATED, Status.REPEATED, Status.COMPLETING]

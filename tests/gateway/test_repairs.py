"""When missing fragments are asked for, and what a new gateway knows. Times are given, not lived."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.repairs import (
    FRAGMENT_BYTES,
    LIMITS,
    MAX_ASKED,
    MAX_ASKED_MEDIUM,
    MAX_NAMED,
    MAX_REQUESTS,
    REQUESTS_PER_LOOK,
    Repairs,
    Request,
    recent_fragments,
    request_message,
)
from protocol.edition import Edition
from protocol.frame import MAX_BODY, Frame
from protocol.messages import encode_body
from protocol.reassembly import MAX_TOTAL, Key
from store.log import LogLimits, LogReader, LogWriter
from store.records import FrameFlag, Frames, Tick
from tests.counting import counted

QUIET_S = 10.0
E2013 = Edition.E2013


def fragment(
    index: int, total: int = 4, serial: int = 100, msg_id: int = 0x0704, body: bytes = b"x"
) -> Frame:
    return Frame(msg_id, bytes(6), serial + index - 1, body, fragment=(total, index))


def asked_at(repairs: Repairs, seconds: range) -> dict[int, list[int]]:
    """Look every second, and give when what was asked for."""
    found: dict[int, list[int]] = {}
    for now in seconds:
        for request in repairs.due(now):
            repairs.asked(request, now)
            found[now] = request.missing
    return found


def test_waits_grow_and_requests_end() -> None:
    """T(n+1) = T(n) × (n+1), 2013 §6.1.1: 10 s of quiet, then 10, 20 and 60 s without an answer."""
    repairs = Repairs(QUIET_S)
    repairs.note(1, fragment(2), E2013, 0.0)
    assert asked_at(repairs, range(500)) == {now: [1, 3, 4] for now in (10, 20, 40, 100)}
    assert len(asked_at(repairs, range(500, 700))) == 0 and repairs.requests == MAX_REQUESTS


def test_every_new_fragment_begins_the_waiting_anew() -> None:
    repairs = Repairs(QUIET_S)
    repairs.note(1, fragment(2), E2013, 0.0)
    assert asked_at(repairs, range(15)) == {10: [1, 3, 4]}
    repairs.note(1, fragment(1), E2013, 15.0)
    repairs.note(1, fragment(1), E2013, 24.0)
    assert asked_at(repairs, range(15, 40)) == {25: [3, 4], 35: [3, 4]}
    for index in (3, 4):
        repairs.note(1, fragment(index), E2013, 40.0)
    assert asked_at(repairs, range(40, 100)) == {}


def test_an_upload_nobody_goes_on_with_is_forgotten() -> None:
    repairs = Repairs(QUIET_S)
    repairs.note(1, fragment(2), E2013, 0.0)
    asked_at(repairs, range(LIMITS.patience_us // 1_000_000 + 1))
    assert len(repairs) == 0 and not repairs._plans


def test_memory_is_bounded_whatever_terminals_begin() -> None:
    repairs = Repairs(QUIET_S)
    for terminal in range(LIMITS.uploads + 50):
        repairs.note(terminal, fragment(2), E2013, 0.0)
    for serial in range(1000):
        repairs.note(1, fragment(1, serial=serial * 7 % 60000, total=7), E2013, 1.0)
    list(repairs.due(1.0))
    assert len(repairs) <= LIMITS.uploads and len(repairs._plans) == len(repairs)


def test_no_upload_of_more_than_a_message_has_is_followed() -> None:
    repairs = Repairs(QUIET_S)
    assert repairs.note(1, fragment(1, total=MAX_TOTAL + 1), E2013, 0.0) is None
    assert repairs.note(1, fragment(1, total=MAX_TOTAL), E2013, 0.0) is not None


def look(uploads: int, *, are_there: bool) -> tuple[int, int]:
    """Let terminals begin the longest uploads; give the work of looking after them, and the requests."""
    repairs = Repairs(QUIET_S)
    for terminal in range(uploads):
        repairs.note(terminal, fragment(1, total=MAX_TOTAL), E2013, 0.0)
    found: list[Request] = []
    work = counted(lambda: found.extend(repairs.due(60.0, lambda terminal: are_there)))
    assert all(len(request.missing) == MAX_NAMED for request in found)
    return work, len(found)


def test_looking_takes_what_uploads_there_are_and_not_what_they_lack() -> None:
    """16,000 beginnings of uploads of 65,535 held the loop for 40 s, and nobody was there to be asked."""
    half, asked = look(2000, are_there=False)
    whole, _ = look(4000, are_there=False)
    assert asked == 0 and whole <= 2.5 * half and whole < 20 * 4000
    few, asked = look(REQUESTS_PER_LOOK, are_there=True)
    many, still_asked = look(4000, are_there=True)
    assert asked == still_asked == REQUESTS_PER_LOOK and many <= few + 20 * 4000


def test_who_is_asked_later_is_asked() -> None:
    repairs, asked = Repairs(QUIET_S), set[int]()
    for terminal in range(3 * REQUESTS_PER_LOOK):
        repairs.note(terminal, fragment(1), E2013, 0.0)
    for now in (10.0, 11.0, 12.0):
        for request in repairs.due(now):
            repairs.asked(request, now)
            asked.add(request.key.terminal)
    assert len(asked) == 3 * REQUESTS_PER_LOOK


def test_an_upload_of_the_longest_kind_is_followed_as_far_as_memory_goes() -> None:
    repairs = Repairs(QUIET_S)
    for serial in (0, 30_000):
        for index in range(1, MAX_TOTAL):
            repairs.note(1, fragment(index, total=MAX_TOTAL, serial=serial), E2013, 0.0)
    list(repairs.due(0.0))
    held = sum(len(upload.fingerprints) for upload in repairs._uploads)
    assert held * FRAGMENT_BYTES <= LIMITS.terminal_bytes


@pytest.mark.parametrize("edition", list(Edition))
@given(missing=st.lists(st.integers(1, 0xFFFF), unique=True, min_size=1, max_size=2000).map(sorted))
def test_requests_name_as_many_as_fit_in_order(edition: Edition, missing: list[int]) -> None:
    medium = Request(Key(1, 0x0801, 5, 0xFFFF), 7, 9, missing)
    message = request_message(medium, edition)
    assert message is not None and message[0] == 0x8800
    assert message[1]["package_ids"] == missing[: MAX_ASKED_MEDIUM[edition]]
    assert len(encode_body(0x8800, edition, message[1])) <= MAX_BODY
    other = request_message(medium._replace(media_id=None), edition)
    if edition is Edition.E2011:
        assert other is None, "2011 has no 0x8003"
        return
    assert other is not None and other[0] == 0x8003 and other[1]["original_serial"] == 5
    assert other[1]["package_ids"] == missing[: MAX_ASKED[edition]]
    assert len(encode_body(0x8003, edition, other[1])) <= MAX_BODY


def write(log: LogWriter, frames: list[Frame], at_us: int, flags: int = FrameFlag.AUTHENTICATED) -> None:
    plains = [frame.plain() for frame in frames]
    log.append(
        Frames(
            np.ones(len(plains), np.uint64),
            np.array([len(plain) for plain in plains], np.uint16),
            np.full(len(plains), flags, np.uint16),
            np.frombuffer(b"".join(plains), np.uint8),
        ),
        at_us,
    )
    log.sync()


def test_fragments_are_found_in_the_log(tmp_path: Path) -> None:
    minute_us, said = 60_000_000, FrameFlag.AUTHENTICATED
    old, new = fragment(1), [fragment(2), Frame(0x0801, bytes(6), 5, bytes(40)), fragment(3)]
    for frames, at_us, flags in (
        ([old], 1, said),
        ([new[0], Frame(0x0200, bytes(6), 6, bytes(30))], 11 * minute_us, said),
        ([Frame(0x0002, bytes(6), 7, b""), *new[1:]], 12 * minute_us, said),
        ([fragment(4)], 12 * minute_us, said | FrameFlag.RAW),
        ([fragment(4)], 12 * minute_us, 0),
    ):
        log = LogWriter(tmp_path)
        log.append(Tick(), at_us)
        write(log, frames, at_us, flags)
        log.close()
    found = list(recent_fragments(tmp_path, 12 * minute_us))
    assert [frame.serial for frame, _ in found] == [each.serial for each in new]
    assert [frame.body for frame, _ in found] == [each.body for each in new]
    assert [at_us for _, at_us in found] == [11 * minute_us, 12 * minute_us, 12 * minute_us]


def test_the_tail_of_a_log_is_about_as_long_as_asked_for(tmp_path: Path) -> None:
    limits = LogLimits(quota_bytes=1 << 30, free_floor_bytes=0, segment_bytes=1 << 16)
    log = LogWriter(tmp_path, limits=limits)
    reader = LogReader(tmp_path)
    assert reader.tail(1000) == reader.head() == 0
    for at_us in range(300):
        write(log, [fragment(1, body=bytes(1000))], at_us)
    log.close()

    def read(position: int) -> int:
        count = 0
        while records := reader.read(position):
            count, position = count + len(records), records[-1].next_position
        return count

    assert read(reader.tail(0)) > 0
    assert 100 <= read(reader.tail(100 * 1000)) < 200
    assert read(reader.tail(1 << 40)) == 300

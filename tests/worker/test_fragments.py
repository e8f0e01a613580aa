"""Messages in pieces become facts like any other, whatever is lost, repeated, reordered or restarted."""

import random
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.edition import Edition
from protocol.messages import encode_body
from protocol.messages.location import location
from protocol.reassembly import MAX_TOTAL, MINUTE_US
from store.blobs import Blobs
from store.log import LogReader
from store.records import FrameFlag
from tests.counting import counted
from tests.databases import Server
from tests.worker.stories import FEW_STORIES, Story, facts, finish, work, worker
from worker.messages import CHECKED

PICTURE = bytes(range(256)) * 20


def pieces(story: Story, session: int, msg_id: int, body: bytes, size: int = 500) -> list[bytes]:
    """Divide a message into plain frames, as a terminal does."""
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return [
        story.plain(session, msg_id, part, fragment=(len(parts), number))
        for number, part in enumerate(parts, 1)
    ]


def picture(media_id: int, data: bytes = PICTURE) -> bytes:
    """Make the body of a 0x0801."""
    taken_at = datetime(2026, 6, 1, 4, tzinfo=UTC)
    return encode_body(
        0x0801,
        Edition.E2013,
        {
            "media_id": media_id,
            "media_type": 0,
            "media_format": 0,
            "event_code": 0,
            "channel_id": 1,
            "location": location(41.8, 123.4, taken_at),
            "media_data": data.hex(),
        },
    )


def media_bodies(found: dict[str, list[dict[str, Any]]], state: Path, identity: str = "") -> list[bytes]:
    """Put the bodies of media together again, from their rows and files."""
    blobs = Blobs(state.parent / "media")
    rows = [row for row in found["media"] if identity in ("", row["identity"])]
    return sorted(row["head"] + blobs.get(row["sha256"]) for row in rows)


def test_a_report_in_pieces_is_a_position(story: Story, state: Path, dsn: str) -> None:
    session = story.open("13912345678", Edition.E2019)
    body = encode_body(0x0200, Edition.E2019, story.body(speed_kmh=36.0, alarm=1))
    frames = pieces(story, session, 0x0200, body, 20)
    story.frames([(session, frame) for frame in reversed(frames)])
    work(story, dsn, state)
    found = facts(dsn)
    (position,) = found["positions"]
    assert (position["speed_kmh"], position["alarm_bits"], position["msg_id"]) == (36.0, 1, 0x0200)
    assert [alarm["condition"] for alarm in found["alarms"]] == ["emergency"]
    assert found["quarantine"] == []


@pytest.mark.parametrize(
    ("msg_id", "edition"),
    [(0x0201, Edition.E2011), (0x0201, Edition.E2013), (0x0201, Edition.E2019), (0x0500, Edition.E2013)],
)
@pytest.mark.parametrize("is_divided", [False, True])
def test_the_report_in_an_answer_is_a_position(
    story: Story, state: Path, dsn: str, msg_id: int, edition: Edition, is_divided: bool
) -> None:
    session = story.open("13912345678", edition)
    if edition is Edition.E2011:
        fields = {"province_id": 0, "city_id": 0, "manufacturer_id": "", "terminal_model": ""}
        story.say(session, 0x0100, fields | {"terminal_id": "", "plate_color": 0, "plate_number": ""})
    report = story.body(lat=41.25)
    fields = report if edition is Edition.E2011 else {"ack_serial": 9, "location": report}
    body = encode_body(msg_id, edition, fields)
    frames = pieces(story, session, msg_id, body, 16 if is_divided else 1000)
    if not is_divided:
        frames = [story.plain(session, msg_id, body)]
    story.frames([(session, frame) for frame in frames])
    work(story, dsn, state)
    found = facts(dsn)
    (position,) = found["positions"]
    assert (position["lat"], position["msg_id"]) == (41.25, msg_id)
    assert found["quarantine"] == [] and found["messages"] == []


def test_what_has_no_table_of_its_own_is_kept_whole(story: Story, state: Path, dsn: str) -> None:
    session = story.open("13912345678")
    frames = pieces(story, session, 0x0801, picture(5))
    story.frames([(session, frame) for frame in frames])
    passed = b"\xf0\1\2"
    again = story.plain(session, 0x0900, passed)
    story.frames([(session, again), (session, again)])
    work(story, dsn, state)
    found = facts(dsn)
    assert [(row["msg_id"], row["body"], row["edition"]) for row in found["messages"]] == [
        (0x0900, passed, "2013")
    ]
    assert media_bodies(found, state) == [picture(5)]
    assert found["positions"] == [] and found["quarantine"] == []


def test_two_pictures_at_once_never_mix(story: Story, state: Path, dsn: str) -> None:
    session = story.open("13912345678")
    bodies = [picture(number, bytes([number]) * 3000) for number in (1, 2)]
    first, second = (pieces(story, session, 0x0801, body) for body in bodies)
    for one, other in zip(first, reversed(second), strict=True):
        story.frames([(session, one), (session, other)])
    work(story, dsn, state)
    assert media_bodies(facts(dsn), state) == bodies


def test_what_stays_incomplete_names_what_is_missing(story: Story, state: Path, dsn: str) -> None:
    session = story.open("13912345678")
    frames = pieces(story, session, 0x0801, picture(5))
    there = [frame for number, frame in enumerate(frames, 1) if number not in (2, 7)]
    story.frames([(session, frame) for frame in there])
    story.tick(599)
    work(story, dsn, state)
    assert facts(dsn)["quarantine"] == []
    story.tick(1)
    work(story, dsn, state)
    rows = facts(dsn)["quarantine"]
    assert sorted(row["raw"] for row in rows) == sorted(there)
    assert {row["reason"] for row in rows} == {"fragments_missing"}
    assert {row["detail"] for row in rows} == {f"missing 2 of {len(frames)} fragments: 2, 7"}


def test_a_message_that_cannot_be_read_goes_to_quarantine_piece_by_piece(
    story: Story, state: Path, dsn: str
) -> None:
    session = story.open("13912345678")
    frames = pieces(story, session, 0x0805, b"\1\2", 1)
    story.frames([(session, frame) for frame in frames])
    work(story, dsn, state)
    found = facts(dsn)
    assert sorted(row["raw"] for row in found["quarantine"]) == sorted(frames)
    assert {row["reason"] for row in found["quarantine"]} == {"undecodable_body"} and not found["messages"]


def test_what_gives_no_facts_is_kept_unread_when_it_is_long(story: Story, state: Path, dsn: str) -> None:
    """A 0x0104 of 102 KB held the worker for 65 s, only to know whether it can be read."""
    session = story.open("13912345678")
    bodies = [b"\0\1\xff" + b"\0\0\0\1\0" * (102_000 // 5), b"\0"]
    for body in bodies:
        story.frames([(session, frame) for frame in pieces(story, session, 0x0104, body, 1000)])
    work(story, dsn, state)
    found = facts(dsn)
    assert [row["body"] for row in found["messages"]] == bodies[:1]
    assert [row["reason"] for row in found["quarantine"]] == ["undecodable_body"]


@pytest.mark.parametrize("cut", [1, 1 << 20])
def test_what_gives_no_facts_is_read_only_so_far_in_a_second(
    story: Story, state: Path, dsn: str, cut: int
) -> None:
    session, unreadable = story.open("13912345678"), b"\1" * 200
    most = CHECKED.each // len(unreadable)
    for _ in range(2):
        for _ in range(most + 3):
            story.say(session, 0x0805, unreadable)
        story.tick()
    work(story, dsn, state, batch_bytes=cut)
    found = facts(dsn)
    assert len(found["quarantine"]) == 2 * most and len(found["messages"]) == 2 * 3
    assert {row["body"] for row in found["messages"]} == {unreadable}


def test_what_does_not_count_is_put_together_with_nothing(story: Story, state: Path, dsn: str) -> None:
    session = story.open("13912345678")
    own = pieces(story, session, 0x0801, picture(5))
    story.frames([(session, own[0])])
    forged = story.plain(session, 0x0801, b"forged", fragment=(len(own), 2))
    story.frames([(session, forged)], flags=FrameFlag.UNPROVEN)
    story.frames([(session, frame) for frame in own[1:]])
    work(story, dsn, state)
    found = facts(dsn)
    assert media_bodies(found, state) == [picture(5)]
    assert [(row["raw"], row["reason"]) for row in found["quarantine"]] == [(forged, "without_code")]


def test_an_upload_that_goes_on_for_half_an_hour_is_given_up(story: Story, state: Path, dsn: str) -> None:
    session = story.open("13912345678")
    frames = pieces(story, session, 0x0801, picture(5))
    for frame in frames[:8]:
        story.frames([(session, frame)])
        story.now_us += 5 * MINUTE_US
        story.tick()
    work(story, dsn, state)
    rows = facts(dsn)["quarantine"]
    assert sorted(row["raw"] for row in rows) == sorted(frames[:6])
    assert {row["reason"] for row in rows} == {"fragments_overdue"}


def digest_beginnings(directory: Path, dsn: str, count: int) -> int:
    """Let a terminal begin so many of the longest uploads, and give the work of digesting that."""
    story = Story(directory / "log")
    session = story.open("13912345678")
    frames = [story.plain(session, 0x0704, b"x", fragment=(MAX_TOTAL, 1)) for _ in range(count)]
    story.frames([(session, frame) for frame in frames])
    story.sync()
    with worker(story, dsn, directory / "state") as made:
        return counted(lambda: finish(made))


def test_beginnings_cost_what_they_are_and_not_what_they_lack(tmp_path: Path, server: Server) -> None:
    """2.1 ms for each 20 bytes: the numbers of 65,534 fragments that were missing."""
    costs = []
    for count in (200, 400):
        dsn = server.clone()
        try:
            costs.append(digest_beginnings(tmp_path / str(count), dsn, count))
        finally:
            server.drop(dsn)
    assert costs[1] <= 2.5 * costs[0] and costs[1] < 2500 * 400


@given(seed=st.integers(0, 2**32))
@FEW_STORIES
def test_lost_and_older_snapshots_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, server: Server, seed: int
) -> None:
    dice = random.Random(seed)
    directory = tmp_path_factory.mktemp("snapshots")
    story, state = Story(directory / "log"), directory / "state"
    bodies, gaps, arriving = list[bytes](), list[bytes](), list[tuple[int, bytes, bool]]()
    session = story.open("13912345678")
    for number in range(4):
        body = picture(number, dice.randbytes(dice.randrange(200, 900)))
        frames, known = pieces(story, session, 0x0801, body, 150), number < 3
        if number == 1:
            gaps += frames[1:]
            frames = frames[1:]
        else:
            bodies.append(body)
        arriving += [(session, frame, known) for frame in frames]
    dice.shuffle(arriving)
    dsn = server.clone()
    try:
        for each, frame, known in arriving:
            story.frames([(each, frame)], authenticated=known)
            story.tick(dice.choice([0, 0, 1]))
            if dice.random() < 0.4:
                story.sync()
                with worker(story, dsn, state, snapshot_s=dice.choice([0.0, 1e9])) as made:
                    finish(made)
                    if dice.random() < 0.5:
                        made._give_up(ConnectionError("killed"))
            if dice.random() < 0.3:
                shutil.rmtree(state, ignore_errors=True)
        story.tick(600)
        work(story, dsn, state)
        found = facts(dsn)
        assert media_bodies(found, state) == sorted(bodies)
        assert sorted(row["raw"] for row in found["quarantine"]) == sorted(gaps)
    finally:
        server.drop(dsn)


def test_a_restart_in_the_middle_loses_nothing(story: Story, state: Path, dsn: str) -> None:
    session = story.open("13912345678")
    reports = [story.body(ago_s=ago) for ago in range(30, 0, -1)]
    batch = encode_body(0x0704, Edition.E2013, {"type": 1, "items": reports})
    frames = pieces(story, session, 0x0704, batch) + pieces(story, session, 0x0801, picture(5))
    for number, frame in enumerate(frames):
        story.frames([(session, frame)])
        if number % 3 == 0:
            story.started()  # the gateway restarts as well: sessions change, uploads go on
            session = story.open("13912345678")
        story.sync()
        with worker(story, dsn, state, snapshot_s=1e9) as made:
            finish(made)
            if number % 2:
                made._give_up(ConnectionError("killed"))  # no last snapshot: state comes from the log
    found = facts(dsn)
    assert len(found["positions"]) == 30 and media_bodies(found, state) == [picture(5)]
    assert found["quarantine"] == []


@pytest.mark.timeout(900)  # thousands of transactions, on whatever else the machine is doing
@given(seed=st.integers(0, 2**32), cut=st.sampled_from([1, 2000, 1 << 20]))
@FEW_STORIES
def test_any_loss_order_and_repetition_gives_bodies_or_named_gaps(
    tmp_path_factory: pytest.TempPathFactory, server: Server, seed: int, cut: int
) -> None:
    dice = random.Random(seed)
    directory = tmp_path_factory.mktemp("pieces")
    story = Story(directory / "log")
    bodies: dict[str, list[bytes]] = {}
    arriving: list[tuple[int, bytes]] = []
    gaps: list[bytes] = []
    for identity in ("13912345678", "ABC"):
        session = story.open(identity)
        for number in range(3):
            body = picture(number, dice.randbytes(dice.randrange(1, 900)))
            frames = pieces(story, session, 0x0801, body, 100)
            kept = [frame for frame in frames if dice.random() < 0.95]
            if len(kept) == len(frames):
                bodies.setdefault(identity, []).append(body)
            else:
                gaps += kept
            arriving += [(session, frame) for frame in kept for _ in range(dice.choice([1, 1, 2]))]
    dice.shuffle(arriving)
    for each in arriving:
        story.frames([each])
    story.tick(600)
    dsn = server.clone()
    try:
        work(story, dsn, directory / "state", batch_bytes=cut)
        found = facts(dsn)
        told = {identity: media_bodies(found, directory / "state", identity) for identity in bodies}
        assert told == {key: sorted(value) for key, value in bodies.items()}
        assert sorted(row["raw"] for row in found["quarantine"]) == sorted(gaps)
        assert all(row["reason"] == "fragments_missing" for row in found["quarantine"])
    finally:
        server.drop(dsn)


def test_what_was_held_before_there_was_a_table_is_put_together(story: Story, state: Path, dsn: str) -> None:
    """An update: the version before kept pieces in the log, and left a snapshot that nobody reads."""
    session = story.open("13912345678")
    body = picture(7)
    first, *others = pieces(story, session, 0x0801, body)
    begin = story.sync()
    story.frames([(session, first)])
    story.tick(2)
    work(story, dsn, state)
    with psycopg.connect(dsn) as connection:
        connection.execute("DELETE FROM pieces")
        connection.execute("INSERT INTO pieces_begin SELECT log_id, position FROM cursors")
    shutil.rmtree(state)
    LogReader(story.directory).release(begin)
    for frame in others:
        story.frames([(session, frame)])
    story.tick(2)
    work(story, dsn, state)
    assert [row["size"] for row in facts(dsn)["media"]] == [len(PICTURE)]
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT FROM pieces UNION ALL SELECT FROM pieces_begin").fetchall() == []


def test_what_waits_is_given_up_in_time_after_an_older_snapshot(story: Story, state: Path, dsn: str) -> None:
    session = story.open("13912345678")
    story.sync()
    with worker(story, dsn, state, snapshot_s=1e9) as made:
        finish(made)
        story.frames([(session, pieces(story, session, 0x0801, picture(7))[0])])
        story.tick()
        story.sync()
        finish(made)
        shutil.copytree(state, state.parent / "older")
    shutil.rmtree(state)
    shutil.copytree(state.parent / "older", state)
    story.tick(40 * 60)
    work(story, dsn, state)
    assert [row["reason"] for row in facts(dsn)["quarantine"]] == ["fragments_missing"]
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT FROM pieces").fetchall() == []

"""Media become one row and one file, whatever breaks while they are written."""

import hashlib
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from protocol.edition import Edition
from protocol.messages import encode_body
from protocol.messages.location import location
from store.blobs import Blobs
from store.log import LogReader
from tests.counting import counted
from tests.databases import Server
from tests.worker.stories import Story, facts, finish, work, worker
from tests.worker.test_fragments import PICTURE, media_bodies, picture, pieces
from worker.decided import Policies
from worker.fragments import DAY_US
from worker.messages import LEAST_MEDIUM

TAKEN = datetime(2026, 6, 1, 4, tzinfo=UTC)


def held(dsn: str) -> int:
    """Say how many pieces wait for the rest."""
    with psycopg.connect(dsn) as connection:
        (count,) = connection.execute("SELECT count(*) FROM pieces").fetchone() or (0,)
        return int(count)


def files(state: Path) -> list[Path]:
    return [path for path in (state.parent / "media").glob("??/*")]


def test_a_picture_says_where_and_why_it_was_taken(story: Story, state: Path, dsn: str) -> None:
    session = story.open("13912345678")
    fields: dict[str, Any] = {
        "media_id": 0xFFFFFFFF,
        "media_type": 2,
        "media_format": 4,
        "event_code": 3,
        "channel_id": 9,
        "location": location(-41.8, 123.4, TAKEN, alarm=1 << 29, speed_kmh=41.5),
        "media_data": b"film".hex(),
    }
    story.frames([(session, story.plain(session, 0x0801, encode_body(0x0801, Edition.E2013, fields)))])
    fields |= {"media_id": 2, "location": location(0, 0, TAKEN, status=0)}
    story.frames([(session, story.plain(session, 0x0801, encode_body(0x0801, Edition.E2013, fields)))])
    work(story, dsn, state)
    blind, seen = sorted(facts(dsn)["media"], key=lambda row: row["media_id"])
    assert (seen["kind"], seen["format"], seen["event"], seen["channel"]) == (2, 4, 3, 9)
    assert (seen["lat"], seen["lon"], seen["speed_kmh"], seen["reported_at"]) == (-41.8, 123.4, 41.5, TAKEN)
    assert seen["alarm_bits"] == 1 << 29 and seen["size"] == 4
    assert seen["sha256"] == hashlib.sha256(b"film").digest()
    assert (blind["media_id"], blind["lat"]) == (2, None)
    assert [path.name for path in files(state)] == [hashlib.sha256(b"film").hexdigest()]


def test_the_same_medium_again_is_counted(story: Story, state: Path, dsn: str) -> None:
    for _ in range(3):
        session = story.open("13912345678")
        story.frames([(session, frame) for frame in pieces(story, session, 0x0801, picture(5))])
        story.tick(700)  # so long that the worker does not know the fragments any more
    other = story.open("13900000001")
    story.frames([(other, frame) for frame in pieces(story, other, 0x0801, picture(5))])
    work(story, dsn, state)
    rows = facts(dsn)["media"]
    assert sorted((row["identity"], row["copies"]) for row in rows) == [
        ("13900000001", 1),
        ("13912345678", 3),
    ]
    assert len(files(state)) == 1


def test_packets_of_2011_become_one_medium(story: Story, state: Path, dsn: str) -> None:
    session = speak_2011(story)
    fields = {"media_id": 7, "media_type": 0, "media_format": 0, "event_code": 1, "channel_id": 1}
    for index in (3, 1, 1, 2):
        body = fields | {"package_total": 3, "package_index": index, "media_data": f"{index:02x}" * 3}
        story.frames([(session, story.plain(session, 0x0801, encode_body(0x0801, Edition.E2011, body)))])
    work(story, dsn, state)
    (row,) = facts(dsn)["media"]
    assert (row["part"], row["parts"], row["size"]) == (0, 3, 9)
    assert Blobs(state.parent / "media").get(row["sha256"]) == b"\1\1\1\2\2\2\3\3\3"


def speak_2011(story: Story) -> int:
    """Open a session of a terminal that has registered as one of 2011."""
    session = story.open("13912345678", Edition.E2011)
    said = {"province_id": 21, "city_id": 100, "manufacturer_id": "ABCDE", "terminal_model": "T1"}
    said |= {"terminal_id": "1", "plate_color": 1, "plate_number": "辽A00001"}
    story.say(session, 0x0100, said)
    return session


def packet(story: Story, session: int, index: int, total: int) -> bytes:
    """Make a packet of medium 7."""
    fields = {"media_id": 7, "media_type": 0, "media_format": 0, "event_code": 1, "channel_id": 1}
    fields |= {"package_total": total, "package_index": index}
    content = (index % 256).to_bytes() * 13
    body = encode_body(0x0801, Edition.E2011, fields | {"media_data": content.hex()})
    return story.plain(session, 0x0801, body)


def test_packets_that_stay_alone_are_given_up_after_a_day(story: Story, state: Path, dsn: str) -> None:
    session = speak_2011(story)
    there = [packet(story, session, index, 4) for index in (1, 2, 4)]
    story.frames([(session, each) for each in there])
    story.now_us += DAY_US - 60_000_000
    story.tick()
    work(story, dsn, state)
    found = facts(dsn)
    assert found["quarantine"] == found["media"] == [] and held(dsn) == 3 and not files(state)
    shutil.rmtree(state)
    story.now_us += 60_000_000
    story.tick()
    work(story, dsn, state)
    rows = facts(dsn)["quarantine"]
    assert sorted(row["raw"] for row in rows) == sorted(there) and held(dsn) == 0
    assert {(row["reason"], row["detail"]) for row in rows} == {
        ("fragments_missing", "missing 1 of 4 fragments: 3")
    }


def test_packets_cost_what_they_are(tmp_path: Path, server: Server) -> None:
    """8,000 packets of 13 bytes took 33 s: all that were there were asked for with each."""
    costs = []
    for count in (200, 400):
        story, dsn = Story(tmp_path / f"{count}" / "log"), server.clone()
        state = tmp_path / f"{count}" / "state"
        try:
            session = speak_2011(story)
            frames = [packet(story, session, index, count + 1) for index in range(1, count + 1)]
            story.frames([(session, each) for each in frames])
            story.sync()
            with worker(story, dsn, state) as made:
                costs.append(counted(lambda made=made: finish(made)))
            assert held(dsn) == count and not files(state)
            story.frames([(session, packet(story, session, count + 1, count + 1))])
            work(story, dsn, state)
            (row,) = facts(dsn)["media"]
            assert (row["part"], row["parts"], row["size"]) == (0, count + 1, 13 * (count + 1))
        finally:
            server.drop(dsn)
    assert costs[1] <= 2.5 * costs[0]


def test_a_terminal_has_only_so_much_stored_in_a_day(story: Story, state: Path, dsn: str) -> None:
    session, other = story.open("13912345678"), story.open("13900000001")
    few = Policies(media_bytes_per_day=2 * len(PICTURE))
    for number in range(3):
        story.frames([(session, each) for each in pieces(story, session, 0x0801, picture(number))])
        story.sync()
    more = pieces(story, session, 0x0801, picture(3))
    story.frames([(other, each) for each in pieces(story, other, 0x0801, picture(9))])
    work(story, dsn, state, policies=few)
    story.now_us += DAY_US
    story.tick()
    story.frames([(session, each) for each in more])
    work(story, dsn, state, policies=few)
    found = facts(dsn)
    assert {row["media_id"] for row in found["media"]} == {0, 1, 3, 9}
    assert {row["reason"] for row in found["quarantine"]} == {"media_quota"}


def test_a_medium_counts_for_a_block_at_least(story: Story, state: Path, dsn: str) -> None:
    session = story.open("13912345678")
    story.frames([(session, story.plain(session, 0x0801, picture(n, bytes([n])))) for n in range(5)])
    work(story, dsn, state, policies=Policies(media_bytes_per_day=3 * LEAST_MEDIUM))
    found = facts(dsn)
    assert {row["media_id"] for row in found["media"]} == {0, 1, 2}
    assert [row["reason"] for row in found["quarantine"]] == ["media_quota"] * 2


def test_a_full_disk_makes_the_worker_wait(story: Story, state: Path, dsn: str) -> None:
    session = story.open("13912345678")
    media = state.parent / "media"
    media.write_bytes(b"")  # nothing can be made in it
    story.frames([(session, story.plain(session, 0x0801, picture(1, b"one")))])
    story.sync()
    with worker(story, dsn, state) as made:
        with pytest.raises(OSError):
            finish(made)
        assert facts(dsn)["media"] == []
        media.unlink()
        finish(made)
    assert media_bodies(facts(dsn), state) == [picture(1, b"one")]


def test_fragments_do_not_keep_the_log_until_the_medium_is_a_file(
    story: Story, state: Path, dsn: str
) -> None:
    session = story.open("13912345678")
    *most, last = pieces(story, session, 0x0801, picture(5))
    story.frames([(session, frame) for frame in most])
    work(story, dsn, state)
    reader = LogReader(story.directory)
    assert reader.consumed() == reader.head()
    assert held(dsn) == len(most)
    story.frames([(session, last)])
    work(story, dsn, state)
    assert reader.consumed() == reader.head()
    assert held(dsn) == 0 and len(files(state)) == 1


def test_a_lost_snapshot_does_not_lose_a_medium(story: Story, state: Path, dsn: str) -> None:
    session = story.open("13912345678")
    *most, last = pieces(story, session, 0x0801, picture(5))
    story.frames([(session, frame) for frame in most])
    work(story, dsn, state)
    shutil.rmtree(state)
    story.frames([(session, last)])
    work(story, dsn, state)
    assert media_bodies(facts(dsn), state) == [picture(5)]
    assert facts(dsn)["quarantine"] == []


def test_what_no_row_names_is_swept_after_a_day(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "media")
    named, orphan = blobs.put(b"named"), blobs.put(b"orphan")
    now = blobs.path(orphan).stat().st_mtime
    (blobs.path(orphan).parent / "broken.123").write_bytes(b"half")

    def sweep(now_s: float) -> int:
        return sum(blobs.sweep(shelf, lambda found: {named} & set(found), now_s) for shelf in range(256))

    assert sweep(now + 86_000) == 0
    assert sweep(now + 90_000) == 2
    assert blobs.get(named) == b"named" and not blobs.path(orphan).exists()
    assert blobs.put(b"named") == named


def test_what_is_wanted_again_is_not_swept(tmp_path: Path) -> None:
    import os

    blobs = Blobs(tmp_path / "media")
    digest = blobs.put(b"content")
    os.utime(blobs.path(digest), (0, 0))

    def asked(found: list[bytes]) -> set[bytes]:
        blobs.put(b"content")  # by a worker, between the question and the deletion
        return set()

    assert blobs.sweep(digest[0], asked, blobs.path(digest).stat().st_ctime + 1000) == 0
    assert blobs.get(digest) == b"content"


def test_media_rows_survive_what_media_files_survive(connection: psycopg.Connection[Any]) -> None:
    assert connection.execute("SELECT count(*) FROM media").fetchone() == (0,)

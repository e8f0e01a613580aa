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
from tests.worker.stories import Story, facts, finish, work, worker
from tests.worker.test_fragments import media_bodies, picture, pieces

TAKEN = datetime(2026, 6, 1, 4, tzinfo=UTC)


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path / "log")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


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
    session = story.open("13912345678", Edition.E2011)
    said = {"province_id": 21, "city_id": 100, "manufacturer_id": "ABCDE", "terminal_model": "T1"}
    said |= {"terminal_id": "1", "plate_color": 1, "plate_number": "辽A00001"}
    story.say(session, 0x0100, said)
    fields = {"media_id": 7, "media_type": 0, "media_format": 0, "event_code": 1, "channel_id": 1}
    for index in (3, 1, 1, 2):
        body = fields | {"package_total": 3, "package_index": index, "media_data": f"{index:02x}" * 3}
        story.frames([(session, story.plain(session, 0x0801, encode_body(0x0801, Edition.E2011, body)))])
    work(story, dsn, state)
    (row,) = facts(dsn)["media"]
    assert (row["part"], row["parts"], row["size"]) == (0, 3, 9)
    assert Blobs(state.parent / "media").get(row["sha256"]) == b"\1\1\1\2\2\2\3\3\3"


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


def test_fragments_stay_in_the_log_until_the_medium_is_a_file(story: Story, state: Path, dsn: str) -> None:
    session = story.open("13912345678")
    *most, last = pieces(story, session, 0x0801, picture(5))
    story.frames([(session, most[0])])
    story.sync()
    begin = LogReader(story.directory).head()
    story.frames([(session, frame) for frame in most[1:]])
    work(story, dsn, state)
    assert LogReader(story.directory).consumed() < begin
    story.frames([(session, last)])
    work(story, dsn, state)
    reader = LogReader(story.directory)
    assert reader.consumed() == reader.head()
    assert len(files(state)) == 1


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

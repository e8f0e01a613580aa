"""Defects read in other servers, each as a test that we do not have it: from the log into the database."""

import sys
from pathlib import Path

import psycopg
import pytest

from tests.worker.faults import ever_later
from tests.worker.stories import Story, facts, finish, work, worker
from worker import run


def test_one_bad_row_does_not_drop_its_batch(story: Story, state: Path, dsn: str) -> None:
    """yezhihao JT808Endpoint: an exception in the batch of location reports drops the whole batch."""
    with psycopg.connect(dsn) as connection:
        connection.execute("ALTER TABLE position_records ADD CHECK (altitude <> 666)")
    session = story.open("13912345678")
    reports = [
        story.report(session, ago_s=ago, altitude_m=666 if ago == 50 else 5) for ago in range(100, 0, -1)
    ]
    story.frames([(session, plain) for plain in reports])
    work(story, dsn, state)
    found = facts(dsn)
    assert len(found["positions"]) == 99 and [row["reason"] for row in found["quarantine"]] == ["poisoned"]


def test_what_could_not_be_inserted_is_inserted_later(
    story: Story, state: Path, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """traccar PositionBatchWriter: what was answered is lost when the insert fails."""
    monkeypatch.setattr(run, "PATIENCE", sys.maxsize)  # it is no record's fault, however often
    session = story.open("13912345678")
    for ago in range(30, 0, -1):
        story.tell(session, ago_s=ago)
    story.sync()
    with worker(story, dsn, state, connect=ever_later(after=False)) as made:
        while True:
            try:
                finish(made)
                break
            except psycopg.Error as error:
                made._give_up(error)
    assert len(facts(dsn)["positions"]) == 30


def test_a_worker_that_was_away_for_long_loses_nothing_and_keeps_the_order(
    story: Story, state: Path, dsn: str
) -> None:
    """track-any-device forwarder: the stream is capped, so a stopped consumer loses data, and positions can
    overtake each other."""
    session = story.open("13912345678")
    count = 20_000
    for begin in range(0, count, 2000):
        reports = [story.report(session, altitude_m=number % 5000) for number in range(begin, begin + 2000)]
        story.frames([(session, plain) for plain in reports])
        story.tick()
    work(story, dsn, state)
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT sum(copies), max(altitude_m) FROM positions").fetchone()
        latest = connection.execute("SELECT altitude_m FROM terminal_states").fetchone()
    assert rows == (count, 4999) and latest == (4999,), "the last one told is the latest"

"""Who reports well for a day is accepted; who waits and is not heard for days is forgotten."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import psycopg

from keeper.chores.enrolment import CHORE as ENROLMENT
from keeper.chores.forgetting import CHORE as FORGETTING
from keeper.options import KeeperOptions
from store.decisions import SPEAKS_WITHOUT_CODE, Decision, decide_now
from store.records import FrameFlag
from store.times import from_us
from tests.worker.stories import Story, work

GOOD, SHORT, DOUBTFUL, STRANGER = (f"1390000000{n}" for n in range(4))
QUARTER_US = 900_000_000


def known(connection: psycopg.Connection[tuple[object, ...]], column: str = "known") -> set[object]:
    rows = connection.execute(f"SELECT identity FROM terminals WHERE {column}")  # type: ignore[call-overload]
    return {row[0] for row in rows}


def test_a_day_of_good_reports_is_accepted_and_days_of_silence_are_forgotten(
    tmp_path: Path, dsn: str
) -> None:
    story = Story(tmp_path / "log")
    good, short, doubtful, stranger = (story.open(each) for each in (GOOD, SHORT, DOUBTFUL, STRANGER))
    for number in range(110):
        story.tell(good, speed_kmh=36.0)
        story.tell(doubtful, fix=False)
        story.tell(stranger, flags=FrameFlag.LOBBY)
        if number > 60:
            story.tell(short)
        story.now_us += QUARTER_US
    work(story, dsn, tmp_path / "state")
    story.writer.close()
    now: datetime = from_us(story.now_us)
    options = KeeperOptions(dsn, tmp_path, forget_after=timedelta(days=7))
    with psycopg.connect(dsn, autocommit=True) as connection:
        assert not ENROLMENT.step(connection, replace(options, enrols=False), now).what
        assert known(connection) == set()
        assert [ENROLMENT.step(connection, options, now).more for _ in range(2)] == [True, False]
        assert known(connection) == {GOOD}
        by = connection.execute("SELECT DISTINCT decided_by FROM decision_versions").fetchall()
        assert by == [("enrolment",)]
        connection.execute("UPDATE terminals SET created_at = first_seen_at")
        assert not FORGETTING.step(connection, options, now + timedelta(days=6)).what
        assert FORGETTING.step(connection, options, now + timedelta(days=8)).more
        assert known(connection, "forgotten") == {SHORT, DOUBTFUL, STRANGER}


def test_what_the_upgrade_allowed_ends_when_the_terminal_authenticates(tmp_path: Path, dsn: str) -> None:
    """What a person allowed stays, under either policy."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO terminals (identity, known, authenticated_at)"
            " VALUES ('1', true, now() + interval '1 hour'), ('2', true, now() - interval '1 hour'),"
            " ('3', true, now() + interval '1 hour')"
        )
        for by, identities in (("upgrade", "123"), ("anna", "3")):
            said = [Decision(SPEAKS_WITHOUT_CODE, each, None) for each in identities]
            decide_now(connection, by, said)
            decide_now(connection, by, [each._replace(value=True) for each in said])
        now = from_us(0)
        for options in (KeeperOptions(dsn, tmp_path, enrols=False), KeeperOptions(dsn, tmp_path)):
            assert ENROLMENT.step(connection, options, now).more == (not options.enrols)
        assert known(connection, "speaks_without_code") == {"2", "3"}

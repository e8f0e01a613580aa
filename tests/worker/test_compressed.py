"""Reports that come back for a day that is compressed are counted like any other."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from store import columnstore
from tests.worker.stories import Story, facts, work

TERMINALS = 5


def test_a_flood_of_copies_into_compressed_days(tmp_path: Path, dsn: str) -> None:
    """Each copy opens a batch of its own; the server's limit of opened rows must not stop the worker."""
    story, state = Story(tmp_path / "log"), tmp_path / "state"
    with psycopg.connect(dsn, autocommit=True) as connection:
        if not columnstore.is_available(connection):
            pytest.skip("this server does not compress")
        # Set for the database, because no test wants to wait for a hundred thousand rows.
        connection.execute(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET"
            " timescaledb.max_tuples_decompressed_per_dml_transaction = 3', current_database()); END $$"
        )
    sessions = [story.open(f"1391234567{number}") for number in range(TERMINALS)]
    bodies = [[story.body(ago_s=ago) for ago in (20, 10, 0)] for _ in sessions]
    for session, told in zip(sessions, bodies, strict=True):
        for body in told:
            story.say(session, 0x0200, body)
    story.tick()
    work(story, dsn, state)
    with psycopg.connect(dsn, autocommit=True) as connection:
        columnstore.prepare(connection)
        for chunk in columnstore.waiting(connection, datetime.now(UTC) + timedelta(days=400)):
            columnstore.compress(connection, chunk)
    for session, told in zip(sessions, bodies, strict=True):
        story.say(session, 0x0200, told[1])
    story.tick()
    work(story, dsn, state)
    rows = facts(dsn)["positions"]
    assert len(rows) == 3 * TERMINALS and sum(row["copies"] for row in rows) == 4 * TERMINALS

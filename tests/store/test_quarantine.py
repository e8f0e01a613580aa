"""Quarantine: what is kept and what is only counted, however the log is cut; and letting go of it."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from store import quarantine
from store.quarantine import POISONED, ROW_BYTES, Limits, Quarantined
from store.select import fetch_all

LOG = UUID(int=7)
HOUR = datetime(2026, 6, 1, 4, tzinfo=UTC)
HOUR_US = round(HOUR.timestamp() * 1e6)


@pytest.fixture
def terminals(connection: psycopg.Connection[Any]) -> list[int]:
    rows = connection.execute("INSERT INTO terminals (identity) VALUES ('1'), ('2') RETURNING id").fetchall()
    return [row[0] for row in rows]


def thing(number: int, terminal_id: int | None = None, reason: str = "unknown_id", **how: Any) -> Quarantined:
    entry = Quarantined(HOUR_US + number, reason, b"raw", LOG, 1000 + number, 0, terminal_id)
    return replace(entry, **how)


def kept(connection: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT terminal_id, reason, position, ordinal FROM quarantine ORDER BY id"
    ).fetchall()


def counts(connection: psycopg.Connection[Any]) -> set[tuple[Any, ...]]:
    query = "SELECT hour, terminal_id, reason, things, kept FROM quarantine_counts"
    return set(connection.execute(query).fetchall())


def size(connection: psycopg.Connection[Any]) -> tuple[int, int]:
    """What the triggers have counted, which is what a count finds."""
    said = connection.execute("SELECT things, size_bytes FROM quarantine_size").fetchone()
    found = connection.execute(
        "SELECT count(*), coalesce(sum(octet_length(raw) + octet_length(detail) + 200), 0) FROM quarantine"
    ).fetchone()
    assert said == found and said is not None
    return said[0], int(said[1])


def test_of_each_terminal_reason_and_hour_a_number_is_kept(
    connection: psycopg.Connection[Any], terminals: list[int]
) -> None:
    one, other = terminals
    entries = [thing(n, one) for n in range(5)] + [thing(10 + n, other) for n in range(2)]
    entries += [thing(20 + n, one, "short_body") for n in range(3)] + [thing(30 + n) for n in range(4)]
    entries += [thing(40, one, received_us=HOUR_US + quarantine.HOUR_US)]
    quarantine.insert(connection, entries, Limits(kept_per_hour=2))
    assert counts(connection) == {
        (HOUR, one, "unknown_id", 5, 2),
        (HOUR, other, "unknown_id", 2, 2),
        (HOUR, one, "short_body", 3, 2),
        (HOUR, None, "unknown_id", 4, 2),
        (HOUR + timedelta(hours=1), one, "unknown_id", 1, 1),
    }
    assert [row[2] - 1000 for row in kept(connection)] == [0, 1, 10, 11, 20, 21, 30, 31, 40]
    assert size(connection) == (9, 9 * (3 + ROW_BYTES))


def test_beyond_the_whole_everything_is_only_counted(
    connection: psycopg.Connection[Any], terminals: list[int]
) -> None:
    limits = Limits(most_bytes=4 * (3 + ROW_BYTES))
    for batch in (range(3), range(3, 6), range(6, 9)):
        quarantine.insert(connection, [thing(n, terminals[n % 2], detail="") for n in batch], limits)
    assert size(connection) == (4, limits.most_bytes)
    assert sum(row[3] for row in counts(connection)) == 9 and sum(row[4] for row in counts(connection)) == 4


def test_what_could_not_be_written_is_always_kept(
    connection: psycopg.Connection[Any], terminals: list[int]
) -> None:
    """The worker looks it up when it reads the log again."""
    entries = [thing(n, terminals[0], POISONED) for n in range(5)]
    quarantine.insert(connection, entries, Limits(kept_per_hour=1, most_bytes=1))
    assert quarantine.poisoned(connection, LOG, 0, 1 << 40) == {each.place for each in entries}


def test_of_one_frame_the_first_reason_counts(connection: psycopg.Connection[Any]) -> None:
    quarantine.insert(connection, [thing(1), thing(1, reason="short_body"), thing(2)])
    assert counts(connection) == {(HOUR, None, "unknown_id", 2, 2)}


@given(
    buckets=st.lists(st.tuples(st.integers(0, 1), st.sampled_from("ab"), st.integers(0, 2)), max_size=25),
    cuts=st.sets(st.integers(1, 24)),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_cut_keeps_and_counts_the_same(
    connection: psycopg.Connection[Any],
    terminals: list[int],
    buckets: list[tuple[int, str, int]],
    cuts: set[int],
) -> None:
    entries = [
        thing(n, terminals[who], reason, received_us=HOUR_US + hour * quarantine.HOUR_US)
        for n, (who, reason, hour) in enumerate(buckets)
    ]
    found = []
    for edges in ([0, len(entries)], [0, *sorted(cut for cut in cuts if cut < len(entries)), len(entries)]):
        connection.execute("DELETE FROM quarantine")
        connection.execute("DELETE FROM quarantine_counts")
        for begin, end in pairwise(edges):
            quarantine.insert(connection, entries[begin:end], Limits(kept_per_hour=2))
        found.append((kept(connection), counts(connection), size(connection)))
    assert found[0] == found[1]


async def test_people_delete_what_they_have_seen(dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, row_factory=dict_row) as own:
        rows = await own.execute("INSERT INTO terminals (identity) VALUES ('1') RETURNING id")
        ((terminal_id,),) = [row.values() for row in await rows.fetchall()]
    with psycopg.connect(dsn, autocommit=True) as writing:
        entries = [thing(n, terminal_id) for n in range(6)] + [thing(10, reason="short_body")]
        quarantine.insert(writing, [*entries, thing(11, terminal_id, POISONED)], Limits(kept_per_hour=4))
        async with await psycopg.AsyncConnection.connect(dsn, row_factory=dict_row) as connection:
            deleted = [
                await quarantine.delete(connection, by="amy", terminal_id=terminal_id, limit=limit)
                for limit in (3, 3, 3)
            ]
            told = await quarantine.survey(connection, HOUR)
            audit = await fetch_all(connection, "SELECT user_name, detail FROM audit ORDER BY id")
        assert deleted == [3, 1, 0]
        assert [(row["user_name"], row["detail"]["things"]) for row in audit] == [("amy", 3), ("amy", 1)]
        assert kept(writing) == [(None, "short_body", 1010, 0), (terminal_id, POISONED, 1011, 0)]
        assert size(writing)[0] == told["things"] == 2
        assert (told["received"], told["only_counted"]) == (8, 6)
        quarantine.insert(writing, [thing(20, terminal_id)], Limits(kept_per_hour=4))
        assert size(writing)[0] == 2, "what was deleted makes no room for more of that hour"


def wait_for_lock(dsn: str, pid: int) -> None:
    """Wait until this connection waits for another."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'"
    with psycopg.connect(dsn, autocommit=True) as looking:
        while looking.execute(query, [pid]).fetchone() == (0,):
            time.sleep(0.01)


async def test_who_deletes_and_who_writes_wait_in_one_order(dsn: str) -> None:
    with psycopg.connect(dsn) as writing:
        quarantine.insert(writing, [thing(0, reason="a"), thing(1, reason="b")])
        writing.commit()
        quarantine.insert(writing, [thing(2, reason="a")])
        async with await psycopg.AsyncConnection.connect(dsn, row_factory=dict_row) as deleting:
            waiting = asyncio.create_task(quarantine.delete(deleting, by="amy", reason="b"))
            await asyncio.to_thread(wait_for_lock, dsn, deleting.info.backend_pid)
            quarantine.insert(writing, [thing(3, reason="b")])  # was a deadlock
            writing.commit()
            assert await waiting == 2

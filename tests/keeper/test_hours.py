"""Hours: the numbers of a count over all positions, on every server, whatever came late or strangely."""

from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keeper.chores.hours import step
from keeper.options import KeeperOptions
from store import journeys
from store.grants import Process
from store.placement import Placement
from store.quality import UNQUALIFIED, Quality
from tests.databases import acting

T0 = datetime(2026, 6, 1, 22, 30, tzinfo=UTC)

EXAMPLES = count()

reports = st.lists(
    st.tuples(
        st.integers(0, 1),  # terminal
        st.sampled_from([-90_000, -7200, -600, 0, 0, 0, 100, 5000]),  # seconds between its clock and ours
        st.integers(1, 4000),  # seconds since the one before
        st.sampled_from([0, 0, int(Quality.NO_FIX), int(Quality.OUT_OF_RANGE)]),
        st.booleans(),  # the keeper looks
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(reports)
def test_hours_are_a_count_of_all_positions(connection: psycopg.Connection[Any], said: Any) -> None:
    # Time goes on from example to example, as it does for the aggregate, and terminals are others.
    example = next(EXAMPLES)
    terminals = [
        connection.execute(
            "INSERT INTO terminals (identity) VALUES (%s) RETURNING id", [f"{example}A{which}"]
        ).fetchone()[0]  # type: ignore[index]
        for which in range(2)
    ]
    now = T0 + example * timedelta(days=5)
    newest = dict.fromkeys(terminals, datetime(2000, 1, 1, tzinfo=UTC))
    for number, (which, apart_s, gap_s, quality, looks) in enumerate(said):
        now += timedelta(seconds=gap_s)
        placed_at, terminal_id = now + timedelta(seconds=apart_s), terminals[which]
        if apart_s > 300:
            quality |= int(Quality.CLOCK_IMPLAUSIBLE)
        late = apart_s <= 300 and placed_at < newest[terminal_id]
        _store(connection, terminal_id, placed_at, now, number, quality, late)
        if late:
            journeys.mark_stale(
                connection, np.array([terminal_id]), np.array([round(placed_at.timestamp() * 1e6)])
            )
        elif apart_s <= 300:
            newest[terminal_id] = placed_at
            connection.execute(
                "UPDATE terminal_states SET reported_at = %s, received_at = %s WHERE terminal_id = %s",
                [placed_at, now, terminal_id],
            )
        if looks:
            _look(connection, now)
    _look(connection, now)
    counted = connection.execute(
        "SELECT terminal_id, hour, reports, copies, late, unqualified, without_fix, max_speed_kmh"
        " FROM terminal_hours ORDER BY 1, 2"
    ).fetchall()
    assert (
        counted
        == connection.execute(
            "SELECT terminal_id, date_trunc('hour', placed_at, 'UTC'), count(*), sum(copies),"
            " count(*) FILTER (WHERE late), count(*) FILTER (WHERE quality & %s <> 0),"
            " count(*) FILTER (WHERE quality & %s <> 0), max(speed_kmh)"
            " FROM positions GROUP BY 1, 2 ORDER BY 1, 2",
            [int(UNQUALIFIED), int(Quality.NO_FIX)],
        ).fetchall()
    )


def _store(
    connection: Any,
    terminal_id: int,
    placed_at: datetime,
    now: datetime,
    number: int,
    quality: int,
    late: bool,
) -> None:
    Placement().ensure(connection, [placed_at.date()])
    connection.execute(
        "INSERT INTO position_records (terminal_id, placed_at, received_at, body_hash, alarm_bits,"
        " status_bits, speed, heading, altitude, msg_id, serial, quality, authenticated, late)"
        " VALUES (%s, %s, %s, %s, 0, 3, %s, 0, 0, 512, 1, %s, true, %s)",
        [terminal_id, placed_at, now, number, 10 * number, quality, late],
    )
    connection.execute(
        "INSERT INTO terminal_states (terminal_id, last_received_at) VALUES (%s, %s)"
        " ON CONFLICT (terminal_id) DO UPDATE SET last_received_at = excluded.last_received_at",
        [terminal_id, now],
    )


def _look(connection: psycopg.Connection[Any], now: datetime) -> None:
    with acting(connection, Process.KEEPER):
        while step(connection, KeeperOptions(dsn="", data_dir=Path()), now).more:
            pass

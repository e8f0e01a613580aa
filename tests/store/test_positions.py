"""Positions: what is copied in is what comes out, and equal reports are one row however they arrive."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from store import positions
from store.binary import NO_TIME, Column, Tail, floats, rows, stable_order
from store.placement import DAY_US, Placement, days_of
from store.positions import HASH_BITS, PositionRows
from store.quality import AHEAD_US, Quality, judge

NOW_US = round(datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp() * 1e6)

Report = tuple[int, int, int]  # terminal, device clock relative to NOW_US, contents


def rows_of(reports: list[Report], received_us: list[int], hashes: int = 1 << 40) -> PositionRows:
    """Columns for reports. `contents` decides every value that is not the time, so equal reports are
    equal; and there are so many different hashes."""
    terminal, clock, contents = (np.array(column, np.int64) for column in zip(*reports, strict=True))
    received = np.array(received_us, np.int64)
    reported = np.where(clock == 7, NO_TIME, NOW_US + clock)
    fix = contents % 3 != 0
    lat, lon = -41.0 - contents / 100, np.full(len(reports), -123.0)  # south and west, as all bits say
    count = len(reports)
    verdict = judge(
        reported,
        received,
        lat=lat,
        lon=lon,
        has_fix=fix,
        speed_kmh=(contents % 200).astype(np.float32),
        heading_deg=(contents % 360).astype(np.int32),
        altitude_m=contents.astype(np.int32),
        items_ok=np.ones(count, np.bool_),
    )
    items_length = contents % 5
    return PositionRows(
        terminal_id=terminal.astype(np.int32),
        placed_us=verdict.placed_us,
        reported_us=reported,
        reported_raw=np.array([_bcd(us) for us in reported.tolist()], np.uint8),
        received_us=received,
        last_received_us=received,
        body_hash=(clock * 1000 + contents) % hashes if hashes < 1 << 40 else clock * 1000 + contents,
        copies=np.ones(count, np.int32),
        lat=lat,
        lon=lon,
        speed_kmh=(contents % 200).astype(np.float32),
        heading_deg=(contents % 360).astype(np.int32),
        altitude_m=contents.astype(np.int32),
        alarm_bits=(contents * 2**25).astype(np.uint32),
        status_bits=np.full(count, 2**32 - 1, np.uint32),
        mileage_km=np.where(contents % 2 == 0, contents * 10.5, np.nan),
        msg_id=np.full(count, 0x0200, np.int32),
        serial=(received % 65536).astype(np.int32),
        quality=verdict.quality,
        authenticated=contents % 2 == 0,
        late=contents % 7 == 0,
        repeated=contents % 4 == 0,
        searched=np.ones(count, np.bool_),
        items_start=np.arange(count, dtype=np.int64) * 5,
        items_length=items_length,
        data=np.tile(np.arange(5, dtype=np.uint8), count),
    )


def _bcd(us: int) -> list[int]:
    """Six bytes as a terminal sends them: a time in GMT+8, or none."""
    if us == NO_TIME:
        return [0x26, 0x13, 0x01, 0xFF, 0, 0]
    beijing = datetime(1970, 1, 1, 8, tzinfo=UTC) + timedelta(microseconds=us)
    return list(bytes.fromhex(f"{beijing:%y%m%d%H%M%S}"))


def write(connection: psycopg.Connection[Any], rows: PositionRows) -> list[int]:
    """Write the rows, and give the receive times of those that could not be."""
    Placement().ensure(connection, days_of(rows.placed_us))
    with connection.transaction():
        collided: list[int] = rows.received_us[positions.write(connection, rows)].tolist()
    return collided


def kept(connection: psycopg.Connection[Any]) -> dict[tuple[int, int], tuple[int, int, int]]:
    """What the table holds: (terminal, stored hash) → copies, first and last receive time."""
    found = connection.execute(
        "SELECT terminal_id, body_hash, copies, received_at, last_received_at FROM positions"
    ).fetchall()
    result = {(row[0], row[1]): (row[2], _us(row[3]), _us(row[4])) for row in found}
    assert len(result) == len(found), "an equal report is there twice"
    return result


def _us(time: datetime) -> int:
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def test_every_column_comes_back(connection: psycopg.Connection[Any]) -> None:
    reports = [(1 + n % 3, -n * 60_000_000, n) for n in range(40)] + [(9, 7, 40), (9, 7, 41)]
    rows = rows_of(reports, [NOW_US + n for n in range(len(reports))])
    write(connection, rows)
    connection.row_factory = dict_row
    found = connection.execute("SELECT * FROM positions ORDER BY received_at").fetchall()
    assert len(found) == len(rows)
    for index, row in enumerate(found):
        start, length = int(rows.items_start[index]), int(rows.items_length[index])
        assert row.pop("items") == (rows.data[start : start + length].tobytes() or None)
        assert row.pop("reported_raw") == rows.reported_raw[index].tobytes()
        assert row.pop("body_hash") == rows.body_hash[index] & HASH_BITS
        for name, value in row.items():
            expected = getattr(rows, name.removesuffix("_at") + "_us" if name.endswith("_at") else name)[
                index
            ]
            if value is None:
                assert expected == NO_TIME or np.isnan(expected)
            else:
                assert (_us(value) if isinstance(value, datetime) else value) == expected, name


def test_items_come_back_as_sent_wherever_the_mileage_stands(connection: psycopg.Connection[Any]) -> None:
    mileage = "0104000004d2"
    sent = [
        bytes.fromhex(each) for each in (mileage, f"{mileage}2504", f"2504{mileage}", mileage * 2, "0104", "")
    ]
    reports = [(1, -n * 1_000_000, n) for n in range(len(sent))]
    rows = rows_of(reports, [NOW_US + n for n in range(len(sent))])
    lengths = np.array([len(each) for each in sent])
    rows = replace(
        rows,
        mileage_km=np.where(lengths >= len(sent[0]), 123.4, np.nan),
        data=np.frombuffer(b"".join(sent) + bytes(8), np.uint8),
        items_start=np.cumsum(lengths) - lengths,
        items_length=lengths,
    )
    write(connection, rows)
    found = connection.execute("SELECT mileage_km, items FROM positions ORDER BY received_at").fetchall()
    assert found == [(123.4, each) if len(each) > 2 else (None, each or None) for each in sent]


@pytest.mark.parametrize("searched", [False, True])
@pytest.mark.parametrize("clock", [0, -3600_000_000], ids=["now", "an hour ago"])
def test_a_copy_is_counted_in_one_batch_and_over_several(
    connection: psycopg.Connection[Any], clock: int, searched: bool
) -> None:
    report: Report = (1, clock, 5)
    for received in (NOW_US, NOW_US + 10):
        rows = rows_of([report, (2, clock, received % 1000), report], [received, received + 1, received + 2])
        rows.searched[:] = searched
        write(connection, rows)
    assert kept(connection)[1, clock * 1000 + 5 & HASH_BITS] == (4, NOW_US, NOW_US + 12)


@pytest.mark.parametrize(
    "clock",
    [7, 3 * DAY_US, -500 * DAY_US],
    ids=["no time", "three days ahead", "long ago"],
)
def test_a_wrong_clock_is_placed_by_receipt_and_still_recognised(
    connection: psycopg.Connection[Any], clock: int
) -> None:
    for received in (NOW_US, NOW_US + DAY_US, NOW_US + DAY_US + 1):
        write(connection, rows_of([(1, clock, 5)], [received]))
    ((placed, quality),) = connection.execute("SELECT placed_at, quality FROM positions").fetchall()
    assert _us(placed) == NOW_US
    assert Quality(quality) & (Quality.CLOCK_IMPLAUSIBLE | Quality.UNPARSABLE_TIME)
    assert kept(connection) == {(1, clock * 1000 + 5 & HASH_BITS): (3, NOW_US, NOW_US + DAY_US + 1)}


@pytest.mark.parametrize("clock", [DAY_US + 1, -400 * DAY_US], ids=["comes true", "becomes too old"])
def test_a_report_whose_clock_changes_sides_stays_one_row(
    connection: psycopg.Connection[Any], clock: int
) -> None:
    for received in (NOW_US, NOW_US + 10):
        write(connection, rows_of([(1, clock, 5)], [received]))
    assert kept(connection) == {(1, clock * 1000 + 5 & HASH_BITS): (2, NOW_US, NOW_US + 10)}


REPORTS = st.tuples(
    st.integers(1, 3),
    st.sampled_from([0, 1_000_000, -60_000_000, 7, 2 * DAY_US, -401 * DAY_US, DAY_US + 2, AHEAD_US + 1]),
    st.integers(0, 6),
)


@given(batches=st.lists(st.lists(REPORTS, min_size=1, max_size=8), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_division_into_batches_keeps_the_same_facts(
    connection: psycopg.Connection[Any], batches: list[list[Report]]
) -> None:
    connection.execute("TRUNCATE position_records")
    expected: dict[tuple[int, int], tuple[int, int, int]] = {}
    received = NOW_US
    for batch in batches:
        times = list(range(received, received + len(batch)))
        received += len(batch)
        for (terminal, clock, contents), at in zip(batch, times, strict=True):
            key = terminal, clock * 1000 + contents & HASH_BITS
            copies, first, _ = expected.get(key, (0, at, at))
            expected[key] = copies + 1, first, at
        write(connection, rows_of(batch, times))
    assert kept(connection) == expected


Fact = tuple[int, int, int, int, int]
"""Clock, contents, copies, first and last receive time."""


@dataclass
class Model:
    """What is owed, report by report."""

    facts: dict[tuple[int, int, int], Fact] = field(default_factory=dict)
    """By terminal, placement time and hash."""
    collided: list[int] = field(default_factory=list)

    def receive(self, report: Report, at: int, key: tuple[int, int, int]) -> None:
        terminal, clock, contents = report
        alike = [
            other
            for other, fact in self.facts.items()
            if other[0] == terminal and fact[:2] == (clock, contents)
        ]
        if alike:
            *same, copies, first, _ = self.facts[alike[0]]
            self.facts[alike[0]] = (same[0], same[1], copies + 1, first, at)
        elif key in self.facts:
            self.collided.append(at)
        else:
            self.facts[key] = (clock, contents, 1, at, at)


def facts_of(connection: psycopg.Connection[Any]) -> dict[tuple[int, int, int], tuple[Any, ...]]:
    found = connection.execute(
        "SELECT terminal_id, placed_at, body_hash, reported_raw, altitude_m, copies, received_at,"
        " last_received_at FROM positions"
    ).fetchall()
    return {
        (row[0], _us(row[1]), row[2]): (row[3], row[4], row[5], _us(row[6]), _us(row[7])) for row in found
    }


@given(
    reports=st.lists(st.tuples(REPORTS, st.booleans()), min_size=1, max_size=24),
    cuts=st.sets(st.integers(1, 23)),
    is_searched=st.booleans(),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_another_body_under_a_key_is_told_and_never_merged(
    connection: psycopg.Connection[Any],
    reports: list[tuple[Report, bool]],
    cuts: set[int],
    is_searched: bool,
) -> None:
    """There are three hashes only. Reports come one by one or many at the same moment."""
    hashes = 3
    received, at = [], NOW_US
    for _, is_later in reports:
        at += is_later
        received.append(at)
    model = Model()
    for (report, _), at in zip(reports, received, strict=True):
        row = rows_of([report], [at], hashes)
        model.receive(report, at, (report[0], int(row.placed_us[0]), int(row.body_hash[0]) & HASH_BITS))
    expected = {
        key: (bytes(_bcd(NO_TIME if clock == 7 else NOW_US + clock)), contents, *counted)
        for key, (clock, contents, *counted) in model.facts.items()
    }
    for edges in (
        [0, *sorted(cut for cut in cuts if cut < len(reports)), len(reports)],
        [0, len(reports)],
        [*range(len(reports) + 1)],
    ):
        connection.execute("TRUNCATE position_records")
        collided: list[int] = []
        for begin, end in pairwise(edges):
            rows = rows_of([report for report, _ in reports[begin:end]], received[begin:end], hashes)
            # A report whose clock was never wrong is not searched; a wrong guess changes nothing.
            clocks = np.array([clock for (_, clock, _), _ in reports])
            is_wrong = (clocks == 7) | (clocks > DAY_US) | (clocks < -400 * DAY_US)
            rows.searched[:] = is_searched or bool(is_wrong.any())
            collided += write(connection, rows)
        assert (facts_of(connection), sorted(collided)) == (expected, model.collided), edges


def test_many_bodies_under_one_key_take_few_statements(connection: psycopg.Connection[Any]) -> None:
    """As many as there are: what one costs does not grow with them."""
    statements: list[str] = []

    class Counting(psycopg.Cursor[Any]):
        def execute(self, query: Any, *given: Any, **how: Any) -> "Counting":
            statements.append(str(query))
            return super().execute(query, *given, **how)

    connection.cursor_factory = Counting
    counts = []
    for terminal, many in enumerate((10, 1000), start=1):
        reports = [(terminal, 0, contents) for contents in range(many)]
        statements.clear()
        collided = write(connection, rows_of(reports, [NOW_US + n for n in range(many)], hashes=1))
        counts.append(len(statements))
        assert collided == [NOW_US + n for n in range(1, many)]
        statements.clear()
        assert len(write(connection, rows_of(reports, [NOW_US + 5000] * many, hashes=1))) == many - 1
        counts.append(len(statements))
    assert max(counts) <= 12


READ = """
SELECT sum(pg_stat_get_xact_blocks_fetched(oid) + pg_stat_get_xact_tuples_returned(oid))::bigint FROM pg_class
 WHERE relkind IN ('r', 'i') AND relname LIKE '%position_records%'
"""


@pytest.mark.parametrize("is_analyzed", [False, True])
@pytest.mark.parametrize("clock", [0, -500 * DAY_US], ids=["one second", "wrong clock"])
def test_the_work_follows_what_is_written_not_what_is_there(
    connection: psycopg.Connection[Any], clock: int, is_analyzed: bool
) -> None:
    """By the server's own count of blocks and rows, for new reports, copies, and other bodies under a key."""

    def batch(contents: Iterable[int], received_us: int) -> PositionRows:
        reports = [(1, clock, each) for each in contents]
        return rows_of(reports, [received_us + n for n in range(len(reports))])

    def count() -> int:
        """What was read so far, of what the server has not yet added to its sums."""
        ((read,),) = connection.execute(READ).fetchall()
        return int(read or 0)

    def reading(rows: PositionRows) -> int:
        before = count()
        with connection.transaction():
            positions.write(connection, rows)
            return count() - before

    Placement().ensure(connection, days_of(np.array([NOW_US, NOW_US - DAY_US])))
    read, there, now_us = [], 0, NOW_US
    for many in (1000, 40_000):
        rows = batch(range(there, there := there + many), now_us)
        rows.searched[:] = rows.repeated[:] = False
        positions.write(connection, rows)
        if is_analyzed:
            connection.execute("ANALYZE position_records")
        now_us += 3600_000_000
        new, copies = range(there, there := there + 100), range(100)
        rows = batch([*new, *copies, *new[:10], *copies[:10]], now_us)
        rows.body_hash[200:] = rows.body_hash[50:70]  # contested
        rows.searched[:] = clock != 0
        read.append(reading(rows))
    assert read[1] < 2 * read[0]


def test_rows_stand_in_the_order_given_whatever_their_shapes() -> None:
    number = np.arange(7)
    columns = [
        Column("number", ">i4", number),
        floats("half", np.where(number % 3, number / 2, np.nan)),
    ]
    tail = Tail("text", np.frombuffer(b"abcdefg" + bytes(8), np.uint8), number, number % 2 * 3)
    order = np.array([5, 0, 6, 3, 2])
    data = bytes(rows(columns, tail, order))
    assert (
        data
        == rows(columns, tail, order[:0]).tobytes()[:-2]
        + b"".join(
            b"\0\x03"
            + b"\0\0\0\x04"
            + each.to_bytes(4)
            + (b"\0\0\0\x08" + struct.pack(">d", each / 2) if each % 3 else b"\xff" * 4)
            + (b"\0\0\0\x03" + b"abcdefg"[each : each + 3].ljust(3, b"\0") if each % 2 else b"\xff" * 4)
            for each in order.tolist()
        )
        + b"\xff\xff"
    )


@given(st.lists(st.integers(0, 2**40), max_size=50))
def test_the_stable_order_is_that_of_argsort(values: list[int]) -> None:
    numbers = np.array(values, np.int64)
    assert stable_order(numbers).tolist() == np.argsort(numbers, kind="stable").tolist()

"""Migrations: in order, once, whole or not at all, and never on a database that is not what the code
believes.
"""

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from store import decisions, hours, schema
from store.decisions import ACCEPTED, BLOCKED, SPEAKS_WITHOUT_CODE
from store.placement import Placement
from tests.mortal import mortal, wait_until_alone


def _copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(schema.MIGRATIONS, tmp_path / "migrations"))


def _first(count: int, tmp_path: Path) -> Path:
    """Copy the first migrations."""
    directory = tmp_path / "before"
    directory.mkdir()
    for each in schema.available()[:count]:
        shutil.copy(schema.MIGRATIONS / f"{each.number:04}_{each.name}.sql", directory)
    return directory


def test_an_empty_database_gets_every_migration_once(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn) as connection:
        assert [each.number for each in schema.migrate(connection)] == [
            each.number for each in schema.available()
        ]
        assert schema.migrate(connection) == []
        schema.check(connection)


def test_a_database_without_schema_is_refused(empty_dsn: str) -> None:
    with (
        psycopg.connect(empty_dsn) as connection,
        pytest.raises(schema.SchemaMissing, match="northwatch migrate"),
    ):
        schema.check(connection)


def test_a_changed_migration_is_drift(connection: psycopg.Connection, tmp_path: Path) -> None:
    files = _copy(tmp_path)
    with (files / "0002_facts.sql").open("a") as file:
        file.write("-- an afterthought\n")
    for action in (schema.migrate, schema.check):
        with pytest.raises(schema.Drift, match=r"0002.*was changed"):
            action(connection, files)


def test_a_newer_database_is_refused(connection: psycopg.Connection, tmp_path: Path) -> None:
    files = _copy(tmp_path)
    latest = max(files.glob("*.sql"))
    latest.unlink()
    with pytest.raises(schema.NewerSchema):
        schema.migrate(connection, files)


def test_a_failing_migration_leaves_the_ones_before_it_and_nothing_of_itself(
    connection: psycopg.Connection, tmp_path: Path
) -> None:
    files = _copy(tmp_path)
    number = len(schema.available()) + 1
    (files / f"{number:04}_good.sql").write_text("CREATE TABLE good (a integer);")
    bad = files / f"{number + 1:04}_bad.sql"
    bad.write_text("CREATE TABLE half (a integer); SELECT 1 / 0;")
    with pytest.raises(psycopg.errors.DivisionByZero):
        schema.migrate(connection, files)
    tables = {
        row[0] for row in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    }
    assert "good" in tables and "half" not in tables
    bad.write_text("CREATE TABLE whole (a integer);")
    assert [each.name for each in schema.migrate(connection, files)] == ["bad"]


def shape(connection: psycopg.Connection) -> list[tuple[object, ...]]:
    """Give what a database is made of: columns, indexes, constraints, views and functions. TimescaleDB counts
    what it makes, also what was undone.
    """
    return connection.execute(r"""
        SELECT 'column', table_name, column_name, data_type, column_default, is_nullable
          FROM information_schema.columns WHERE table_schema = 'public'
        UNION ALL SELECT 'index', tablename, indexname, indexdef, NULL, NULL
          FROM pg_indexes WHERE schemaname = 'public'
        UNION ALL SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', ''
          FROM pg_constraint WHERE connamespace = 'public'::regnamespace
        UNION ALL SELECT 'view', viewname, NULL, regexp_replace(definition, '\d+', '', 'g'), NULL, NULL
          FROM pg_views WHERE schemaname = 'public'
        UNION ALL SELECT 'function', proname, NULL, prosrc, NULL, NULL
          FROM pg_proc p WHERE pronamespace = 'public'::regnamespace
           AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
        ORDER BY 1, 2, 3, 4""").fetchall()


def applied(connection: psycopg.Connection) -> int:
    """Say how many migrations the database has."""
    if connection.execute("SELECT to_regclass('migrations')").fetchone() == (None,):
        return 0
    return len(connection.execute("SELECT FROM migrations").fetchall())


def test_killed_in_any_migration_the_next_run_goes_on_before_it(empty_dsn: str, dsn: str) -> None:
    """Each is killed twice, when everything of it is done but its mark and when all is done but the commit,
    and then all that follows it before it begins.
    """
    with (
        psycopg.connect(empty_dsn, autocommit=True) as connection,
        mortal("tests.store.mortal", empty_dsn) as ask,
    ):
        for number in range(len(schema.available())):
            before = shape(connection)
            for step in ("INSERT INTO migrations", "COMMIT after INSERT INTO migrations"):
                assert ask(step)[-1] == step
                wait_until_alone(connection)
                assert (applied(connection), shape(connection)) == (number, before)
            ask("BEGIN after INSERT INTO migrations")
            wait_until_alone(connection)
            assert applied(connection) == number + 1
        assert "INSERT INTO migrations" not in ask("")
        schema.check(connection)
        with psycopg.connect(dsn) as calm:
            assert shape(connection) == shape(calm)


def test_every_migration_is_held_to_its_file(connection: psycopg.Connection, tmp_path: Path) -> None:
    files = _copy(tmp_path)
    before = shape(connection)
    for each in schema.available():
        path = files / f"{each.number:04}_{each.name}.sql"
        path.write_text(each.text + "\n")
        said = rf"migration {each.number:04} \({each.name}\) was changed .* restore the file"
        for action in (schema.migrate, schema.check):
            with pytest.raises(schema.Drift, match=said):
                action(connection, files)
        path.write_text(each.text)
    schema.check(connection, files)
    assert shape(connection) == before


def test_files_must_be_numbered_without_gaps(tmp_path: Path) -> None:
    files = _copy(tmp_path)
    (files / "0099_far.sql").write_text("SELECT 1;")
    with pytest.raises(schema.SchemaError, match="numbered 1 to"):
        schema.available(files)
    (files / "0099_far.sql").rename(files / "later.sql")
    with pytest.raises(schema.SchemaError, match=r"0001_fleet\.sql"):
        schema.available(files)


_OLD_POSITIONS = """
INSERT INTO positions
SELECT placed, CASE n % 5 WHEN 3 THEN placed + interval '3 days' WHEN 4 THEN NULL ELSE placed END,
       placed + n * interval '1 s', placed + (n + (n % 4) / 3) * interval '1 s', n - 20,
       CASE WHEN n % 7 > 0 THEN (41.123456 + n) * 1e6::bigint / 1e6::float8 END, 4294.967295,
       4294967295 - n, n % 4, CASE WHEN n % 2 = 0 THEN 429496729.5 - n END, 1, 1 + (n % 4) / 3, 6553.5,
       65535, 65535, 1796, 65535 - n, n % 256, n % 2 = 0, n % 3 = 0,
       CASE WHEN n % 5 > 2 THEN '\\x99ff00000000'::bytea
            ELSE decode(to_char(placed AT TIME ZONE 'UTC' + interval '8 hours', 'YYMMDDHH24MISS'), 'hex') END,
       CASE n % 3 WHEN 1 THEN '\\x01043101'::bytea
            WHEN 2 THEN '\\x0104'::bytea || int4send((4294967295 - n * 10)::bit(32)::integer) || '\\x3101' END
  FROM generate_series(0, 39) n,
       LATERAL (SELECT '2026-05-01Z'::timestamptz + n * interval '30 min' AS placed) p
"""

_REPORT = """
placed_at, reported_at, received_at, last_received_at, lat, lon, alarm_bits, status_bits, mileage_km,
terminal_id, copies, speed_kmh, heading_deg, altitude_m, msg_id, serial, quality, authenticated, late,
reported_raw, items
"""
_A_RECORD = """
INSERT INTO position_records (placed_at, received_at, terminal_id, body_hash, alarm_bits, status_bits,
       altitude, speed, heading, msg_id, serial, authenticated, late)
VALUES ('2026-05-19 10:00Z', '2026-05-19 10:00Z', 1, 1, 0, 0, 0, 0, 0, 512, 0, true, false)
"""


def test_positions_of_an_older_version_say_the_same(empty_dsn: str, tmp_path: Path) -> None:
    """0013 keeps them in another form, and with them the hours whose positions are gone."""
    before = _first(12, tmp_path)
    reports = f"SELECT {_REPORT} FROM positions ORDER BY placed_at"
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        schema.migrate(connection, before)
        is_native = connection.execute("SELECT relkind = 'p' FROM pg_class WHERE oid = 'positions'::regclass")
        if is_native.fetchone() == (True,):
            connection.execute(
                "CREATE TABLE positions_20260501 PARTITION OF positions"
                " FOR VALUES FROM ('2026-05-01Z') TO ('2026-05-02Z')"
            )
        connection.execute(_OLD_POSITIONS)
        said = connection.execute(reports).fetchall()
        schema.migrate(connection)
        assert connection.execute(reports).fetchall() == said and len(said) == 40
        assert len(connection.execute("SELECT DISTINCT body_hash FROM positions").fetchall()) == 40
        with connection.transaction():
            Placement().ensure(connection, [date(2026, 5, 1), date(2026, 5, 2)])


_OLD_TERMINALS = """
INSERT INTO terminals (identity, known, blocked, authenticated_at)
VALUES ('1', true, false, now()), ('2', true, false, NULL), ('3', true, false, NULL),
       ('4', false, true, now()), ('5', false, false, now()), ('6', false, false, NULL),
       ('7', true, false, now()), ('8', true, false, NULL)
"""
_OLD_REPORTS = """
INSERT INTO position_records (placed_at, received_at, terminal_id, body_hash, alarm_bits, status_bits,
       altitude, speed, heading, msg_id, serial, authenticated, late)
SELECT '2026-05-19 10:00Z'::timestamptz + n * interval '1 min', '2026-05-19 10:00Z', t.id, 1, 0, 0, 0, 0, 0,
       512, n, mark = '+', false
  FROM (VALUES ('1', '-----+----'), ('2', '-'), ('4', '+'), ('5', '+-----'), ('6', '-----'), ('7', '++-----'),
               ('8', '+')) AS said (identity, marks)
  JOIN terminals t USING (identity), regexp_split_to_table(marks, '') WITH ORDINALITY AS each (mark, n)
"""
"""Whether each came authenticated, in order."""


def test_who_was_believed_before_an_update_is_believed_after_it(empty_dsn: str, tmp_path: Path) -> None:
    """0018: who was known is accepted; who sent its last reports without a code goes on so, if we know it."""
    before = _first(17, tmp_path)
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        schema.migrate(connection, before)
        if connection.execute("SELECT FROM pg_partitioned_table").rowcount:
            connection.execute(
                "CREATE TABLE position_records_20260519 PARTITION OF position_records"
                " FOR VALUES FROM ('2026-05-19Z') TO ('2026-05-20Z')"
            )
        connection.execute(_OLD_TERMINALS)
        connection.execute(_OLD_REPORTS)
        schema.migrate(connection)
        said = decisions.at(connection, decisions.taken(connection), decisions.OF_TERMINALS)
        rows = connection.execute(
            "SELECT identity FROM terminals WHERE speaks_without_code AND NOT forgotten ORDER BY identity"
        ).fetchall()
        assert decisions.newest(connection) == 1
    assert {(each.kind, each.subject) for each in said if each.value} == {
        *((ACCEPTED, identity) for identity in "12378"),
        (BLOCKED, "4"),
        *((SPEAKS_WITHOUT_CODE, identity) for identity in "257"),
    }
    assert rows == [("2",), ("5",), ("7",)]


def test_hours_outlive_the_positions_they_were_counted_from(empty_dsn: str, tmp_path: Path) -> None:
    """0013 makes the aggregate of TimescaleDB anew; elsewhere the hours are a table that it leaves alone."""
    before = _first(12, tmp_path)
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        schema.migrate(connection, before)
        if not hours.is_continuous(connection):
            pytest.skip("this server has no continuous aggregates")
        connection.execute(_OLD_POSITIONS)
        connection.execute("CALL refresh_continuous_aggregate('terminal_hours', NULL, NULL)")
        connection.execute("SELECT drop_chunks('positions', older_than => '2026-05-03Z'::timestamptz)")
        counted = connection.execute("SELECT * FROM terminal_hours ORDER BY hour").fetchall()
        assert len(counted) == 20
        schema.migrate(connection)
        now = datetime(2026, 5, 20, tzinfo=UTC)
        connection.execute(_A_RECORD)
        hours.refresh_continuous(connection, now - timedelta(days=60), now)
        assert connection.execute("SELECT * FROM terminal_hours ORDER BY hour").fetchall()[:-1] == counted

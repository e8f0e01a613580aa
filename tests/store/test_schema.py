"""Migrations: in order, once, whole or not at all, and never on a database that is not what the code
believes.
"""

import shutil
from pathlib import Path

import psycopg
import pytest

from store import schema


def _copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(schema.MIGRATIONS, tmp_path / "migrations"))


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


def test_files_must_be_numbered_without_gaps(tmp_path: Path) -> None:
    files = _copy(tmp_path)
    (files / "0099_far.sql").write_text("SELECT 1;")
    with pytest.raises(schema.SchemaError, match="numbered 1 to"):
        schema.available(files)
    (files / "0099_far.sql").rename(files / "later.sql")
    with pytest.raises(schema.SchemaError, match=r"0001_fleet\.sql"):
        schema.available(files)

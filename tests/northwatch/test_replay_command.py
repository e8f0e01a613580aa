"""`northwatch replay` on a real archive and database."""

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from click.testing import Result
from typer.testing import CliRunner

from northwatch.cli import app
from store import shadow
from tests.keeper.test_replay import Told


@pytest.fixture
def told(tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NORTHWATCH_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("NORTHWATCH_DATABASE_URL", dsn)
    yield Told(tmp_path, dsn, 1, steps=40)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["replay", *arguments], env={"COLUMNS": "200"})


def test_differences_are_told_taken_over_and_gone(told: Told) -> None:
    since = ("--from", "2026-06-01")
    same = run(*since)
    assert same.exit_code == 0 and "no difference" in same.stdout, same.output
    count = told.alter("UPDATE position_records SET speed = 990 WHERE placed_at > '2026-06-01'")
    different = run(*since, "--to", "2026-06-02T00:00:00+08:00", "--json")
    assert different.exit_code == 1, different.output
    said = json.loads(different.stdout)
    (row,) = said["differences"]
    assert (row["kind"], row["change"], row["count"], row["adopted"]) == ("position", "changed", count, 0)
    assert row["columns"] == {"speed_kmh": count} and said["examples"][0]["values"]["speed_kmh"][0] == 99
    number = str(said["replay"])
    assert "compared" in run("--list").stdout
    shown = run("--resume", number)
    assert shown.exit_code == 1 and "speed_kmh 99" in shown.stdout and "--adopt" in shown.stdout
    assert run("--resume", number, "--adopt").exit_code == 0
    assert run(*since).exit_code == 0
    assert "no replay" in run("--resume", number).stderr  # what is taken over is not kept
    with psycopg.connect(told.dsn) as connection:
        assert connection.execute("SELECT user_name LIKE 'shell:%' FROM audit").fetchall() == [(True,)]


def test_what_only_the_table_has_stays_and_is_told(told: Told) -> None:
    told.alter("UPDATE position_records SET placed_at = placed_at + interval '1 ms' WHERE serial = 1")
    found = run("--from", "2026-06-01", "--adopt")
    assert found.exit_code == 1 and "only stored" in found.stdout and "forgets" in found.stdout, found.output
    assert "is forgotten" in run("--drop", "1").stdout
    with psycopg.connect(told.dsn) as connection:
        assert not shadow.numbers(connection)


def test_wrong_commands_say_what_is_wrong(told: Told) -> None:
    for arguments, why in (
        ((), "give one of"),
        (("--from", "2026-06-01", "--list"), "give one of"),
        (("--from", "tomorrow"), "is no time"),
        (("--from", "2026-06-02", "--to", "2026-06-01"), "must lie before"),
        (("--from", "2030-01-01", "--to", "2031-01-01"), "nothing is known"),
        (("--from", "2026-06-01", "--terminal", "13700000000"), "no terminal 13700000000"),
        (("--drop", "9"), "no replay 9"),
    ):
        done = run(*arguments)
        assert done.exit_code == 2 and why in done.stderr, done.output

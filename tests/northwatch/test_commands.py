"""`northwatch user`, `terminal`, `migrate` and `doctor` against a real database."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias
from unittest.mock import patch

import psycopg
import pytest
from typer.testing import CliRunner, Result

from northwatch.cli import app

Run: TypeAlias = Callable[..., Result]


def runner(data_dir: Path, dsn: str | None) -> Run:
    """Give the command line, run inside this process because it is asked for often."""
    environ: dict[str, str | None] = {name: None for name in os.environ if name.startswith("NORTHWATCH_")}
    environ |= {"NORTHWATCH_DATA_DIR": str(data_dir), "NORTHWATCH_DATABASE_URL": dsn, "COLUMNS": "200"}

    def run(*arguments: str) -> Result:
        with patch.dict(
            os.environ
        ):  # `gateway --processes` stands for its variable, which its children inherit
            done = CliRunner(env=environ).invoke(app, arguments)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done

    return run


@pytest.fixture
def run(tmp_path: Path, dsn: str) -> Run:
    """The command line on a fresh, migrated database."""
    return runner(tmp_path / "data", dsn)


def test_users_are_added_listed_renewed_and_disabled(run: Run, connection: psycopg.Connection[Any]) -> None:
    assert "password: " in run("user", "add", "mei", "--role", "admin", "--display-name", "王梅").stdout
    added = run("user", "add", "li", "--password", "long enough 1").stdout
    assert added.startswith("li added as operator\n") and "to be changed" in added
    assert "guessed first" in run("user", "add", "bo", "--password", "password2026!").stderr
    assert "already" in run("user", "add", "li").stderr
    listed = run("user", "list").stdout
    assert "王梅" in listed and "operator" in listed
    assert "li has a new password: " in run("user", "password", "li").stdout
    assert run("user", "disable", "li").exit_code == 0
    assert "last admin" in run("user", "disable", "mei").stderr
    assert run("user", "password", "nobody").exit_code == 1
    audited = connection.execute("SELECT DISTINCT user_name FROM audit").fetchall()
    assert len(audited) == 1 and audited[0][0].startswith("shell:")


def test_terminals_are_added_bound_and_blocked(run: Run) -> None:
    assert run("terminal", "add", "013900000001", "--edition", "2019").exit_code == 0
    assert run("terminal", "bind", "13900000001", "辽A12345", "--color", "2").exit_code == 0
    assert run("terminal", "block", "13900000001").exit_code == 0
    listed = run("terminal", "list", "--view", "blocked").stdout
    assert "13900000001" in listed and "辽A12345" in listed and "blocked" in listed
    assert run("terminal", "unblock", "13900000001").exit_code == 0
    assert run("terminal", "unbind", "13900000001").exit_code == 0
    assert run("terminal", "unbind", "13900000001").exit_code == 1
    assert run("terminal", "block", "13900000009").exit_code == 1
    assert run("terminal", "list", "--view", "odd").exit_code == 2
    assert "worthless" in run("terminal", "new-code", "13900000001").stdout
    assert "without its code\n" in run("terminal", "without-code", "13900000001").stdout
    assert "with its code only" in run("terminal", "without-code", "13900000001", "--forbid").stdout
    assert run("terminal", "new-code", "13900000009").exit_code == 1


def test_many_new_terminals_are_let_in_for_a_while(run: Run) -> None:
    assert run("lobby", "show").stdout == "0 terminals wait to be accepted\n"
    assert "so many more may come: 500" in run("lobby", "open", "--for", "2h", "--room", "500").stdout
    assert "so many more may come: 500" in run("lobby", "show").stdout
    assert run("lobby", "close").stdout == "0 terminals wait to be accepted\n"
    assert run("lobby", "open", "--for", "2 hours").exit_code == 2
    assert run("lobby", "open", "--for", "30d").exit_code == 1


def test_periods_are_held_listed_and_released(run: Run) -> None:
    assert run("terminal", "add", "13900000001").exit_code == 0
    assert run("terminal", "bind", "13900000001", "辽A12345").exit_code == 0
    wanted = ("--from", "2026-03-01T08:00", "--to", "2026-03-02", "--reason", "accident 42")
    placed = run("hold", "add", "辽A12345", *wanted)
    assert placed.stdout == "hold 1: 辽A12345, 2026-03-01 08:00:00+08:00 to 2026-03-02 00:00:00+08:00\n"
    assert "accident 42" in run("hold", "list").stdout
    assert "legal holds" in run("doctor").stdout
    assert run("hold", "release", "1").stdout == "hold 1 of 辽A12345 is released\n"
    assert "accident 42" not in run("hold", "list").stdout
    assert "accident 42" in run("hold", "list", "--all").stdout
    assert run("hold", "add", "辽A99999", *wanted).exit_code == 1
    assert run("hold", "release", "7").exit_code == 1
    assert run("hold", "add", "辽A12345", "--from", "2026-03-02", *wanted[2:]).exit_code == 2


def test_less_retention_than_the_law_allows_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NORTHWATCH_RETENTION__TRACKS_DAYS", "90")
    refused = CliRunner().invoke(app, ["keeper"])
    assert refused.exit_code == 2
    assert "retention.tracks_days" in refused.stderr and "至少保存6个月" in refused.stderr


def test_a_fleet_is_imported_whole_or_not_at_all(run: Run, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_text("车牌号,车牌颜色,终端号\n辽B00001,黄,13900000011\n辽B00002,2,13900000012\n", "utf-8")
    bad.write_text("plate,identity\n辽B00003,13900000013\n辽B00004,XYZ\n", "utf-8")
    assert "nothing was kept" in run("terminal", "import", "--dry-run", str(good)).stdout
    assert "2 terminals added" in run("terminal", "import", str(good)).stdout
    refused = run("terminal", "import", str(bad))
    assert refused.exit_code == 1
    assert "line 3: identity" in refused.stderr
    assert "13900000013" not in run("terminal", "list").stdout
    assert run("terminal", "import", str(tmp_path / "missing.csv")).exit_code == 2


def test_doctor_says_what_is_in_use_and_what_is_missing(run: Run) -> None:
    unwell = run("doctor")
    assert unwell.exit_code == 1
    assert "Nobody may sign in" in unwell.stdout
    assert "northwatch user add" in unwell.stdout
    run("user", "add", "mei", "--role", "admin")
    well = run("doctor")
    assert well.exit_code == 0, well.stdout
    assert "PostgreSQL" in well.stdout and "TimescaleDB" in well.stdout and "nothing is wrong" in well.stdout


def test_an_empty_database_is_migrated_once(tmp_path: Path, empty_dsn: str) -> None:
    run = runner(tmp_path / "data", empty_dsn)
    assert "run `northwatch migrate`" in run("user", "list").stderr
    assert "migrat" in run("doctor").stdout
    assert "0001 fleet applied" in run("migrate").stdout
    assert run("migrate").stdout == "nothing to do\n"


def test_a_database_of_other_code_is_told(run: Run, connection: psycopg.Connection[Any]) -> None:
    connection.execute("UPDATE migrations SET checksum = '' WHERE number = 3")
    refused = run("migrate")
    assert refused.exit_code == 1 and "0003 (alarms) was changed" in refused.stderr
    unwell = run("doctor")
    assert unwell.exit_code == 1
    assert "0003 (alarms) was changed" in unwell.stdout and "apply what is pending" not in unwell.stdout


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    run = runner(tmp_path / "file" / "data", None)
    for command in (("migrate",), ("up",), ("gateway", "--processes", "2")):
        refused = run(*command)
        assert refused.exit_code in (1, 2) and "data_dir" in refused.stderr, command


def test_no_database_is_made_by_looking(tmp_path: Path) -> None:
    run = runner(tmp_path / "data", None)
    assert "there is no database in" in run("user", "list").stderr
    assert run("doctor").exit_code == 0
    assert not (tmp_path / "data").exists()


def test_a_database_that_is_away_is_told_without_its_password(tmp_path: Path) -> None:
    run = runner(tmp_path / "data", "postgresql://me:secret@127.0.0.1:1/x")
    for command in (("user", "list"), ("doctor",), ("migrate",)):
        done = run(*command)
        assert done.exit_code == 1
        said = done.stdout + done.stderr
        assert "127.0.0.1" in said and "secret" not in said

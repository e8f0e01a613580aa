"""Versions of what people decide: counted one after the other, and seen in that order."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from northwatch.config import Settings, SilenceSettings
from northwatch.wiring import worker_options
from store import decisions, fleet
from store.decisions import ACCEPTED, BLOCKED, CODE_EPOCH, CONFIGURED, FORGOTTEN, SETTING, Decision
from store.refusals import AlreadyExists
from store.roster import enter_roster, read_roster
from store.select import Connection
from store.settings import SETTINGS


@pytest.fixture
def known(connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    connection.execute("INSERT INTO terminals (identity) VALUES ('1'), ('2')")
    connection.autocommit = False
    return connection


def until_waiting(connection: psycopg.Connection[Any], count: int) -> None:
    """Return when so many wait for a lock in this database."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    waiting += " AND datname = current_database()"
    while connection.execute(waiting).fetchone() != (count,):
        pass


def test_a_version_is_never_seen_before_an_earlier_one(dsn: str, known: psycopg.Connection[Any]) -> None:
    """Whoever decides second waits for the first, even one that takes long."""
    first = decisions.decide_now(known, "anna", [Decision(BLOCKED, "1", True)])
    second: list[int | None] = []

    def decide() -> None:
        with psycopg.connect(dsn) as connection:
            second.append(decisions.decide_now(connection, "bo", [Decision(BLOCKED, "2", True)]))

    waiting = threading.Thread(target=decide)
    waiting.start()
    with psycopg.connect(dsn, autocommit=True) as connection:
        until_waiting(connection, 1)
        assert decisions.newest(connection) == 0 and not second
        known.commit()
        waiting.join()
        assert (first, second, decisions.newest(connection)) == (1, [2], 2)


def blocking(connection: Connection) -> Awaitable[object]:
    return fleet.block_terminal(connection, 1, by="anna")


def adding(connection: Connection) -> Awaitable[object]:
    return fleet.add_terminal(connection, "3", by="anna")


def forgetting(connection: Connection) -> Awaitable[object]:
    return fleet.forget_terminal(connection, 1, by="anna")


@pytest.mark.parametrize("deciding", [blocking, adding, forgetting])
async def test_an_import_beside_another_decision_of_its_terminals(
    dsn: str, known: psycopg.Connection[Any], deciding: Callable[[Connection], Awaitable[object]]
) -> None:
    """Both wait for who decides before them, the import first. Was a deadlock."""
    known.execute("INSERT INTO terminals (identity) VALUES ('3')")
    known.commit()
    entries = read_roster(b"identity\n1\n3\n")
    decisions.decide_now(known, "bo", [Decision(BLOCKED, "2", True)])

    async def act(work: Callable[[Connection], Awaitable[object]]) -> None:
        async with await psycopg.AsyncConnection.connect(dsn, row_factory=dict_row) as connection:
            await work(connection)

    with psycopg.connect(dsn, autocommit=True) as looking:
        both = []
        for work in (lambda connection: enter_roster(connection, entries, by="anna"), deciding):
            both.append(asyncio.create_task(act(work)))
            await asyncio.to_thread(until_waiting, looking, len(both))
    known.commit()
    import_, other = await asyncio.gather(*both, return_exceptions=True)
    assert import_ is None
    assert other is None or isinstance(other, AlreadyExists)


def test_what_is_taken_back_leaves_no_gap(dsn: str, known: psycopg.Connection[Any]) -> None:
    assert decisions.decide_now(known, "anna", [Decision(BLOCKED, "1", True)]) == 1
    known.rollback()
    assert decisions.decide_now(known, "anna", [Decision(BLOCKED, "2", True)]) == 1


def test_what_is_decided_already_is_no_version(known: psycopg.Connection[Any]) -> None:
    said = [Decision(BLOCKED, "1", True), Decision(ACCEPTED, "2", True)]
    assert decisions.decide_now(known, "anna", said) == 1
    assert decisions.decide_now(known, "bo", said) is None
    assert decisions.decide_now(known, "bo", [*said, Decision(CODE_EPOCH, "1", 3)]) == 2
    assert decisions.since(known, 1, 9, decisions.OF_TERMINALS) == [Decision(CODE_EPOCH, "1", 3)]
    assert decisions.since(known, 0, 1, [BLOCKED]) == [Decision(BLOCKED, "1", True)]


def test_terminals_show_what_holds_now(known: psycopg.Connection[Any]) -> None:
    def shown() -> list[tuple[Any, ...]]:
        return known.execute(
            "SELECT known, blocked, code_epoch, forgotten FROM terminals ORDER BY id"
        ).fetchall()

    decisions.decide_now(known, "anna", [Decision(ACCEPTED, "1", True), Decision(CODE_EPOCH, "2", 4)])
    decisions.decide_now(known, "anna", [Decision(BLOCKED, "1", True), Decision(FORGOTTEN, "2", True)])
    assert shown() == [(True, True, 0, False), (False, False, 4, True)]
    decisions.decide_now(known, "anna", [Decision(ACCEPTED, "1", None), Decision(BLOCKED, "1", False)])
    assert shown() == [(False, False, 0, False), (False, False, 4, True)]
    assert decisions.about(known, ["1"], 1, decisions.OF_TERMINALS) == [Decision(ACCEPTED, "1", True)]
    assert decisions.at(known, 2, [BLOCKED]) == [Decision(BLOCKED, "1", True)]


def test_a_large_import_does_not_keep_the_worker_waiting(dsn: str, known: psycopg.Connection[Any]) -> None:
    decisions.decide_now(known, "anna", [Decision(ACCEPTED, "1", True)])  # and goes on for long
    with psycopg.connect(dsn, options="-c lock_timeout=1") as worker:
        decisions.take(worker, 0, worker.execute("SELECT now()").fetchone()[0])  # type: ignore[index]


def test_all_settings_that_facts_depend_on_are_in_the_configuration() -> None:
    configured = worker_options(Settings()).configured
    assert configured.keys() == SETTINGS.keys()
    for name, (least, most, is_whole) in SETTINGS.items():
        assert least <= configured[name] <= most and isinstance(configured[name], int if is_whole else float)
    silence = {f"silence.{name}" for name in SilenceSettings.model_fields}
    assert silence <= SETTINGS.keys(), "a new one has to have its place in the log too"


def test_the_configuration_is_entered_once(known: psycopg.Connection[Any]) -> None:
    assert decisions.configure(known, {"silence.moving_s": 5.0, "silence.parked_s": 6.0}) == 1
    assert decisions.configure(known, {"silence.moving_s": 5.0, "silence.parked_s": 6.0}) is None
    decisions.decide_now(known, "anna", [Decision(SETTING, "silence.moving_s", 9.0)])
    assert decisions.configure(known, {"silence.moving_s": 7.0, "silence.parked_s": 6.0}) == 3
    assert decisions.since(known, 2, 3, [CONFIGURED]) == [Decision(CONFIGURED, "silence.moving_s", 7.0)]

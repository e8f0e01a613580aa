"""The keeper's loop: every chore goes on, whatever the others do, and is done by one keeper at a time."""

import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from prometheus_client import generate_latest
from structlog.testing import capture_logs

from keeper import keeper as loop
from keeper.chore import Chore, Connection, Done
from keeper.keeper import FAILING_AFTER, Keeper
from keeper.options import KeeperOptions
from store import upkeep
from store.grants import Process
from tests.databases import as_process

PATIENCE_S = 300


class Stage:
    """A keeper in a thread."""

    def __init__(self, dsn: str, *chores: Chore) -> None:
        self.keeper = Keeper(KeeperOptions(as_process(dsn, Process.KEEPER), Path("unused")), chores)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.keeper.run, args=[self._stop])

    def __enter__(self) -> Keeper:
        self._thread.start()
        return self.keeper

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def chore(name: str, step: Callable[[], Done], every_s: float = 0.01) -> Chore:
    def do(connection: Connection, options: KeeperOptions, now: datetime) -> Done:
        assert now.tzinfo is not None and connection.autocommit
        return step()

    return Chore(name, every_s, do)


def test_a_failing_chore_stops_no_other(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "FIRST_BACKOFF_S", 0.01)
    failed, worked = threading.Semaphore(0), threading.Semaphore(0)

    def fail() -> Done:
        failed.release()
        raise ValueError("no such thing")

    def work() -> Done:
        worked.release()
        return Done("worked", zh="已完成")

    with Stage(dsn, chore("fails", fail), chore("works", work)) as keeper:
        for _ in range(FAILING_AFTER + 1):
            assert failed.acquire(timeout=PATIENCE_S)
            assert worked.acquire(timeout=PATIENCE_S)
        health = keeper.health()
    assert not health["ok"] and "fails: ValueError: no such thing" in health["error"]
    worked_well = health["chores"]["works"]
    assert (worked_well["did"], worked_well["did_zh"]) == ("worked", "已完成") and worked_well["done_at"]
    assert 'northwatch_keeper_failures_total{chore="fails"}' in generate_latest(keeper.registry).decode()


def test_a_chore_that_works_again_is_well_again(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "FIRST_BACKOFF_S", 0.01)
    results: list[Exception | Done] = [*(OSError("disk") for _ in range(FAILING_AFTER)), Done("repaired")]
    done = threading.Event()

    def step() -> Done:
        if not results:
            done.set()
            return Done()
        result = results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    with Stage(dsn, chore("heals", step)) as keeper:
        assert done.wait(PATIENCE_S)
    assert keeper.health()["ok"] and keeper.accounts["heals"].did == "repaired"


def test_steps_go_on_until_nothing_is_left(dsn: str) -> None:
    steps: list[int] = []
    done = threading.Event()

    def step() -> Done:
        steps.append(len(steps))
        if len(steps) == 3:
            done.set()
        return Done(more=len(steps) < 3)

    with Stage(dsn, chore("long", step, every_s=3600)) as keeper:
        assert done.wait(PATIENCE_S)
    assert len(steps) == 3 and keeper.accounts["long"].done_at


def test_a_chore_is_done_by_one_keeper_at_a_time(dsn: str) -> None:
    began: list[Any] = []
    mine = Keeper(
        KeeperOptions(as_process(dsn, Process.KEEPER), Path("unused")),
        [chore("mine", lambda: began.append(1) or Done())],
    )
    with psycopg.connect(dsn, autocommit=True) as other:
        assert upkeep.claim(other, "mine")
        mine.do(mine.chores[0], threading.Event())
        assert not began
    mine.do(mine.chores[0], threading.Event())
    assert began


def test_what_is_done_again_and_again_is_said_now_and_then(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "BREATH_S", 0.0)
    steps = 0
    over = threading.Event()

    def work() -> Done:
        nonlocal steps
        steps += 1
        if steps == 20:
            over.set()
        return Done(f"{steps} days corrected", more=steps < 20)

    with capture_logs() as said, Stage(dsn, chore("journeys", work)) as keeper:
        assert over.wait(PATIENCE_S)
    assert keeper.accounts["journeys"].did
    assert [each["did"] for each in said if each["event"] == "journeys"] == ["1 days corrected"]

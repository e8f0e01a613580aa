"""Two gateway processes: one is killed under load, and what was answered is there once."""

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest

from protocol.edition import Edition
from tests.crash.installation import Installation
from tests.crash.promises import assert_answered_once
from tests.crash.terminals import Driver

pytestmark = pytest.mark.crash

TERMINALS = 16
KILLS = 3
CATCH_UP_S = 120


def listening(place: Installation) -> dict[int, int]:
    """The processes to which terminals can connect, by slot."""
    found = {}
    for process in psutil.Process(place.processes["gateway"].pid).children():
        with contextlib.suppress(psutil.Error):
            ports = {each.laddr.port for each in process.net_connections("tcp") if each.status == "LISTEN"}
            if place.port in ports:
                found[int(process.cmdline()[-1])] = process.pid
    return found


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(CATCH_UP_S):
        while not condition():  # noqa: ASYNC110 - other processes set no event
            await asyncio.sleep(0.05)


def all_answer(drivers: list[Driver], before: list[int]) -> bool:
    """Was every terminal answered again since it had `before`?"""
    return all(len(driver.answered) > count for driver, count in zip(drivers, before, strict=True))


async def drive(place: Installation) -> list[Driver]:
    """Report without pause while one of the two processes is killed again and again."""
    editions = (Edition.E2011, Edition.E2013, Edition.E2019)
    drivers = [Driver(number, editions[number % 3], place.port) for number in range(TERMINALS)]
    stop = asyncio.Event()
    await until(lambda: len(listening(place)) == 2)
    async with asyncio.TaskGroup() as tasks:
        for driver in drivers:
            tasks.create_task(driver.drive(stop, rate_s=0.02))
        for kill in range(KILLS):
            await until(lambda: len(listening(place)) == 2)
            await asyncio.sleep(1)
            before = [len(driver.answered) for driver in drivers]
            os.kill(listening(place)[kill % 2], signal.SIGKILL)
            goes_on = partial(all_answer, drivers, before)
            await until(goes_on)
        stop.set()
    return drivers


def wait_until_read(place: Installation) -> None:
    """Wait until the worker has read what both processes wrote."""
    heads = {
        int.from_bytes((place.directory / "log" / str(slot) / "head").read_bytes()[:8], "little")
        for slot in range(2)
    }
    deadline = time.monotonic() + CATCH_UP_S
    while time.monotonic() < deadline:
        with place.connect() as database:
            if {row[0] for row in database.execute("SELECT position FROM cursors").fetchall()} == heads:
                return
        time.sleep(0.1)
    raise TimeoutError(f"the worker is not at {heads}:\n{place.output('worker')}")


@pytest.mark.timeout(600)
def test_a_process_killed_under_load_loses_and_doubles_nothing() -> None:
    # Not pytest's own directory: the embedded server's account may not enter that.
    directory = Path(tempfile.mkdtemp(prefix="northwatch-processes-"))
    try:
        with Installation(directory, NORTHWATCH_GATEWAY__PROCESSES="2") as place:
            place.wait_for_gateway()
            drivers = asyncio.run(drive(place))
            place.processes["gateway"].terminate()
            place.processes["gateway"].wait()
            wait_until_read(place)
            assert assert_answered_once(place, drivers) > 0
            with place.connect() as database:
                rows = database.execute("SELECT event, session & 255 FROM link_events").fetchall()
                (state,) = database.execute("SELECT count(*) FROM terminals").fetchall()
            assert {slot for event, slot in rows if event == "opened"} == {0, 1}
            assert state[0] == TERMINALS
    finally:
        shutil.rmtree(directory, ignore_errors=True)

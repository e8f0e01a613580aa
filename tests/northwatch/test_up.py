"""`northwatch up` with real processes: everything starts, what is killed comes back, everything stops."""

import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from store import schema
from store.embedded import Embedded
from tests.crash.installation import SLOT_PORTS
from tests.events.broker import BrokerServer, brokers
from tests.ports import reserve

pytestmark = [pytest.mark.crash, pytest.mark.slow]

PROCESSES = {"gateway0", "gateway1", "worker", "keeper", "events", "monitor", "sim"}


class House:
    """One `northwatch up --demo 4` with two gateway processes; `up` starts it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        names = ("gateway", "monitor", "worker", "keeper", "events")
        self.ports = dict(zip(names, reserve(len(names)), strict=True))
        self.gateways = reserve(2, apart=SLOT_PORTS)
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("NORTHWATCH_")},
            "NORTHWATCH_DATA_DIR": str(directory),
            "NORTHWATCH_GATEWAY__PROCESSES": "2",
            "NORTHWATCH_GATEWAY__PORT": str(self.ports["gateway"]),
            "NORTHWATCH_GATEWAY__HEALTH_PORT": str(self.gateways[0]),
            "NORTHWATCH_WORKER__HEALTH_PORT": str(self.ports["worker"]),
            "NORTHWATCH_KEEPER__HEALTH_PORT": str(self.ports["keeper"]),
            "NORTHWATCH_EVENTS__HEALTH_PORT": str(self.ports["events"]),
            "NORTHWATCH_MONITOR__PORT": str(self.ports["monitor"]),
            "NORTHWATCH_GATEWAY__HOST": "127.0.0.1",
            "NORTHWATCH_MONITOR__HOST": "127.0.0.1",
            "NORTHWATCH_DEMO__REPORT_S": "1",
        }
        self.lines: list[str] = []
        self.umask = -1

    def up(self) -> None:
        self.process = self.start("--demo", "4")
        threading.Thread(target=self._listen, daemon=True).start()

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return self.run("up", *arguments)

    def run(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start a command of the program."""
        return subprocess.Popen(
            [sys.executable, "-m", "northwatch", *arguments],
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            umask=self.umask,
        )

    def _listen(self) -> None:
        assert self.process.stdout is not None
        self.lines += iter(self.process.stdout.readline, "")

    @property
    def said(self) -> str:
        return "".join(self.lines)

    def pids(self) -> dict[str, int]:
        """The processes that run, by name and slot."""
        found = {}
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):
                command = child.cmdline()
                if command[1:3] == ["-m", "northwatch"]:
                    slot = command[-1] if "--slot" in command else ""
                    found[command[3] + slot] = child.pid
        return found

    def positions(self) -> int:
        dsn = Embedded(self.directory / "database").dsn()
        with psycopg.connect(dsn) as connection:
            row = connection.execute("SELECT count(*) FROM positions").fetchone()
        return int(row[0]) if row else 0

    def is_well(self) -> bool:
        """Everything answers and says that it is well, and the worker is not behind."""
        gateways = [get(port, "/healthz") for port in self.gateways]
        others = [get(self.ports[name], "/healthz") for name in ("worker", "keeper", "events")]
        ready = get(self.ports["monitor"], "/readyz")
        return (
            all(said is not None and said["ok"] for said in (*gateways, *others, ready))
            and sum(gateway["sessions"] for gateway in gateways) == 4
        )

    def answers(self) -> int:
        """How many answers terminals got."""
        said = [get(port, "/healthz") or {} for port in self.gateways]
        return sum(each.get("answers", 0) for each in said)


def get(port: int, path: str) -> Any:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=300) as answer:
            return json.load(answer)
    except (OSError, urllib.error.URLError, ValueError):
        return None


def until(condition: Callable[[], Any]) -> None:
    while not condition():
        time.sleep(0.1)


@pytest.fixture
def house() -> Iterator[House]:
    # Not pytest's own directory: its path may be too private for the account that the database runs under.
    directory = Path(tempfile.mkdtemp(prefix="northwatch-up-"))
    house = House(directory / "data")
    yield house
    house.process.kill()
    house.process.wait()
    Embedded(house.directory / "database").stop()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerServer]:
    yield from brokers(tmp_path / "broker")


def test_everything_starts_comes_back_and_stops(house: House, broker: BrokerServer) -> None:
    house.environ["NORTHWATCH_MQTT_URL"] = broker.url
    house.environ["NORTHWATCH_GATEWAY__UDP_PORT"] = str(house.ports["gateway"])
    house.up()
    until(lambda: "shown this once" in house.said or house.process.poll() is not None)
    assert house.process.poll() is None, house.said
    until(house.is_well)
    until(lambda: house.positions() > 0)

    another = house.start()
    output, _ = another.communicate()
    assert another.returncode == 2
    assert "already running" in output

    database = Embedded(house.directory / "database")
    before, postmaster = house.pids(), database.pid()
    assert set(before) == PROCESSES and postmaster is not None
    for pid in (*before.values(), postmaster):
        os.kill(pid, signal.SIGKILL)
    until(lambda: set(house.pids()) == PROCESSES and not set(house.pids().values()) & set(before.values()))
    until(lambda: database.pid() not in (None, postmaster) and database.is_ready())
    until(house.is_well)
    reached = house.positions()
    until(lambda: house.positions() > reached)

    house.process.send_signal(signal.SIGTERM)
    house.process.wait()
    assert house.process.returncode == 0, house.said
    assert not database.is_running()
    until(lambda: "│ stopped" in house.said)
    assert "Traceback" not in house.said
    for port in (*house.ports.values(), *house.gateways):
        socket.create_server(("127.0.0.1", port)).close()


def test_a_gateway_serves_without_a_database(house: House) -> None:
    """The database cannot start; terminals are answered all the same, and all is well once it can."""
    marker = house.directory / "database" / "PG_VERSION"
    marker.parent.mkdir(parents=True)
    marker.write_text("9\n")
    house.up()
    until(lambda: house.answers() >= 20)
    assert "holds a database of PostgreSQL 9" in house.said
    marker.unlink()
    until(lambda: "monitor" in house.pids())
    until(lambda: house.positions() >= 20)


def test_a_database_of_other_code_is_told_once(house: House) -> None:
    """The gateway answers all the same; the end says that something was wrong."""
    database = Embedded(house.directory / "database")
    with psycopg.connect(database.start()) as connection:
        schema.migrate(connection)
        connection.execute("UPDATE migrations SET checksum = '' WHERE number = 3")
    database.stop()
    house.up()
    until(lambda: house.answers() >= 20 and "0003 (alarms)" in house.said)
    assert set(house.pids()) == {"gateway0", "gateway1", "sim"}
    house.process.send_signal(signal.SIGTERM)
    assert house.process.wait() == 1
    until(lambda: "│ stopped" in house.said)
    assert house.said.count("0003 (alarms)") == 1
    assert "Traceback" not in house.said


@pytest.mark.parametrize("umask", [0o022, 0o000], ids=oct)
def test_nothing_is_open_to_others(house: House, umask: int) -> None:
    """Whatever the mask of who starts it, of what is made, and of what an older version left open."""
    left = house.directory / "archive" / "2026-01-01" / "left"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"as received")
    for path in (left, *left.parents[:3]):
        path.chmod(0o777)
    house.umask = umask
    opened, _ = house.run("doctor").communicate()
    assert "4 files and directories are open to other users" in " ".join(opened.split())
    house.up()
    until(lambda: "monitor" in house.pids())
    until(lambda: house.positions() > 0 and (house.directory / "worker").exists())
    copy = house.directory.parent / "copy"
    backup = house.run("backup", str(copy))
    said, _ = backup.communicate()
    assert backup.returncode == 0, said
    for place in (house.directory, copy):
        swept = {path: stat.S_IMODE(path.lstat().st_mode) for path in (place, *place.rglob("*"))}
        assert {path: oct(mode) for path, mode in swept.items() if mode & 0o027} == {}
    assert {"log", "archive", "worker", "gateways", "database"} <= {
        each.name for each in house.directory.iterdir()
    }
    assert "are open to other users" not in house.run("doctor").communicate()[0]

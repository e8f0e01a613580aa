"""`northwatch up` with real processes: everything starts, what is killed comes back, everything stops."""

import json
import os
import shutil
import signal
import socket
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

from store.embedded import Embedded

pytestmark = [pytest.mark.crash, pytest.mark.slow]

PROCESSES = ("gateway", "worker", "keeper", "monitor", "sim")


class House:
    """One `northwatch up --demo 4`; `up` starts it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ports = dict(
            zip(
                ("gateway", "monitor", "gateway_health", "worker_health", "keeper_health"),
                free_ports(5),
                strict=True,
            )
        )
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("NORTHWATCH_")},
            "NORTHWATCH_DATA_DIR": str(directory),
            "NORTHWATCH_GATEWAY__PORT": str(self.ports["gateway"]),
            "NORTHWATCH_GATEWAY__HEALTH_PORT": str(self.ports["gateway_health"]),
            "NORTHWATCH_WORKER__HEALTH_PORT": str(self.ports["worker_health"]),
            "NORTHWATCH_KEEPER__HEALTH_PORT": str(self.ports["keeper_health"]),
            "NORTHWATCH_MONITOR__PORT": str(self.ports["monitor"]),
            "NORTHWATCH_GATEWAY__HOST": "127.0.0.1",
            "NORTHWATCH_MONITOR__HOST": "127.0.0.1",
            "NORTHWATCH_DEMO__REPORT_S": "1",
        }
        self.lines: list[str] = []

    def up(self) -> None:
        self.process = self.start("--demo", "4")
        threading.Thread(target=self._listen, daemon=True).start()

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "northwatch", "up", *arguments]
        return subprocess.Popen(
            command, env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def _listen(self) -> None:
        assert self.process.stdout is not None
        self.lines += iter(self.process.stdout.readline, "")

    @property
    def said(self) -> str:
        return "".join(self.lines)

    def pid(self, name: str) -> int | None:
        for child in psutil.Process(self.process.pid).children():
            if child.status() != psutil.STATUS_ZOMBIE and name in child.cmdline()[:4]:
                return child.pid
        return None

    def positions(self) -> int:
        dsn = Embedded(self.directory / "database").dsn()
        with psycopg.connect(dsn) as connection:
            row = connection.execute("SELECT count(*) FROM positions").fetchone()
        return int(row[0]) if row else 0

    def is_well(self) -> bool:
        """Everything answers and says that it is well, and the worker is not behind."""
        gateway = get(self.ports["gateway_health"], "/healthz")
        worker = get(self.ports["worker_health"], "/healthz")
        keeper = get(self.ports["keeper_health"], "/healthz")
        ready = get(self.ports["monitor"], "/readyz")
        return (
            all(said is not None and said["ok"] for said in (gateway, worker, keeper, ready))
            and gateway["sessions"] == 4
        )


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def get(port: int, path: str) -> Any:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
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


def test_everything_starts_comes_back_and_stops(house: House) -> None:
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
    before = {name: house.pid(name) for name in PROCESSES}
    postmaster = database.pid()
    assert all(before.values()) and postmaster is not None
    for name in PROCESSES:
        os.kill(before[name] or 0, signal.SIGKILL)
    os.kill(postmaster, signal.SIGKILL)
    until(lambda: all(house.pid(name) not in (None, before[name]) for name in PROCESSES))
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
    for port in house.ports.values():
        socket.create_server(("127.0.0.1", port)).close()


def test_a_gateway_serves_without_a_database(house: House) -> None:
    """The database cannot start; terminals are answered all the same, and all is well once it can."""
    marker = house.directory / "database" / "PG_VERSION"
    marker.parent.mkdir(parents=True)
    marker.write_text("9\n")
    house.up()
    until(lambda: (get(house.ports["gateway_health"], "/healthz") or {}).get("answers", 0) >= 20)
    assert "holds a database of PostgreSQL 9" in house.said
    marker.unlink()
    until(house.is_well)
    until(lambda: house.positions() >= 20)

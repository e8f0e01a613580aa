"""A whole installation as real processes: gateway, worker and a database, each of which can be killed."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

import psycopg
import pytest

from northwatch.config import Settings, load
from store.embedded import Embedded

START_S = 60
PARTS = ("gateway", "worker", "database")


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(s.getsockname()[1]) for s in sockets]
    for s in sockets:
        s.close()
    return ports


class Installation:
    """Starts everything below one directory; killed parts are started again by `start`."""

    def __init__(self, directory: Path, **settings: str) -> None:
        self.directory = directory
        self.database = Embedded(directory / "database", {"shared_buffers": "64MB", "max_wal_size": "1GB"})
        self.port, gateway_health, worker_health, monitor = free_ports(4)
        self.health = {"gateway": gateway_health, "worker": worker_health}
        self.environment = {
            **os.environ,
            "NORTHWATCH_DATA_DIR": str(directory),
            "NORTHWATCH_DATABASE_URL": self.database.dsn(),
            "NORTHWATCH_GATEWAY__HOST": "127.0.0.1",
            "NORTHWATCH_GATEWAY__PORT": str(self.port),
            "NORTHWATCH_GATEWAY__HEALTH_PORT": str(gateway_health),
            "NORTHWATCH_WORKER__HEALTH_PORT": str(worker_health),
            "NORTHWATCH_MONITOR__PORT": str(monitor),
            "NORTHWATCH_LOG__FREE_FLOOR_BYTES": "0",
            **settings,
        }
        self.modules = dict.fromkeys(PARTS, "northwatch")
        """What runs as a part, by `python -m`."""
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.kills: dict[str, int] = dict.fromkeys(PARTS, 0)
        self.log = directory / "log" / "0"
        self._whole_log = directory / "whole-log"
        self._done = threading.Event()
        self._keeper = threading.Thread(target=self._keep_log)

    def __enter__(self) -> "Installation":
        self.database.start()
        subprocess.run(self._command("migrate"), env=self.environment, check=True, capture_output=True)
        self.start("gateway")
        self.start("worker")
        self._keeper.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._keeper.join()
        for process in self.processes.values():
            process.kill()
            process.wait()
        self.database.stop()

    def start(self, part: str) -> None:
        """Start a part that does not run."""
        if part == "database":
            self.database.start()
            return
        with (self.directory / f"{part}.output").open("ab") as output:
            self.processes[part] = subprocess.Popen(
                self._command(part), env=self.environment, stdout=output, stderr=output
            )

    def kill(self, part: str) -> None:
        """kill -9, without a chance to tidy up."""
        self.kills[part] += 1
        if part == "database":
            pid = self.database.pid()
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
            return
        self.processes[part].kill()
        self.processes[part].wait()

    def stop(self, part: str) -> None:
        """Ask a process to end, and wait until it has."""
        self.processes[part].terminate()
        self.processes[part].wait(START_S)

    def wait_for_gateway(self) -> None:
        """Wait until terminals can connect."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise TimeoutError(f"the gateway does not listen:\n{self.output('gateway')}")

    def ask(self, part: str) -> dict[str, Any]:
        """Give what the part's own endpoint says; nothing where it says nothing."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health[part]}/healthz", timeout=2) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as unwell:
            return dict(json.load(unwell))
        except OSError:
            return {}

    def is_healthy(self, part: str) -> bool:
        """Ask the part's own endpoint."""
        return bool(self.ask(part).get("ok"))

    def output(self, part: str) -> str:
        """The end of what a part has printed."""
        return (self.directory / f"{part}.output").read_text(errors="replace")[-4000:]

    def whole_log(self) -> Path:
        """The log from its beginning, with the segments that the gateway has deleted since."""
        self._link_segments()
        for name in ("log.json", "head"):
            shutil.copy(self.log / name, self._whole_log)
        return self._whole_log

    def _keep_log(self) -> None:
        while not self._done.wait(0.05):
            self._link_segments()

    def _link_segments(self) -> None:
        self._whole_log.mkdir(exist_ok=True)
        for segment in self.log.glob("*.seg"):
            with contextlib.suppress(FileExistsError, FileNotFoundError):
                os.link(segment, self._whole_log / segment.name)

    def settings(self) -> Settings:
        """The settings that the processes have."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            return load()

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self.database.dsn(), autocommit=True)

    def _command(self, part: str) -> list[str]:
        return [sys.executable, "-m", self.modules.get(part, "northwatch"), part]

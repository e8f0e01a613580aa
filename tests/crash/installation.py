"""A whole installation as real processes: gateways, worker and a database, each of which can be killed."""

import contextlib
import http.client
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
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any

import psycopg
import pytest

from northwatch.config import Settings, load
from store.embedded import Embedded
from tests.ports import reserve

START_S = 300
"""How long a test waits for a process; far longer than it takes."""
SLOT_PORTS = 100
"""So far apart are the health ports of gateway processes."""


class Installation:
    """Starts everything below one directory; killed parts are started again by `start`.

    Parts are `gateway`, or `gateway0`, `gateway1` … of `gateways` processes; `worker`, `database`, and what
    else a test starts.
    """

    def __init__(self, directory: Path, *, gateways: int = 1, **settings: str) -> None:
        self.directory = directory
        self.gateways = ["gateway"] if gateways == 1 else [f"gateway{slot}" for slot in range(gateways)]
        self.parts = [*self.gateways, "worker", "database"]
        self.database = Embedded(directory / "database", {"shared_buffers": "64MB", "max_wal_size": "1GB"})
        gateway_health, *_ = reserve(gateways, apart=SLOT_PORTS)
        self.port, worker_health, keeper_health, monitor = reserve(4)
        self.health = {
            name: gateway_health + SLOT_PORTS * slot for slot, name in enumerate(self.gateways)
        } | {"worker": worker_health}
        self.environment = {
            **os.environ,
            "NORTHWATCH_DATA_DIR": str(directory),
            "NORTHWATCH_DATABASE_URL": self.database.dsn(),
            "NORTHWATCH_GATEWAY__HOST": "127.0.0.1",
            "NORTHWATCH_GATEWAY__PORT": str(self.port),
            "NORTHWATCH_GATEWAY__HEALTH_PORT": str(gateway_health),
            "NORTHWATCH_GATEWAY__PROCESSES": str(gateways),
            "NORTHWATCH_WORKER__HEALTH_PORT": str(worker_health),
            "NORTHWATCH_KEEPER__HEALTH_PORT": str(keeper_health),
            "NORTHWATCH_MONITOR__PORT": str(monitor),
            "NORTHWATCH_LOG__FREE_FLOOR_BYTES": "0",
            **settings,
        }
        self.modules: dict[str, str] = {}
        """What runs as a part, by `python -m`, where it is not northwatch."""
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.kills: Counter[str] = Counter()
        self.logs = directory / "log"
        self._whole_logs = directory / "whole-logs"
        self._done = threading.Event()
        self._keeps_logs = threading.Thread(target=self._keep_logs)

    def __enter__(self) -> "Installation":
        self.database.start()
        self.command("migrate")
        for part in (*self.gateways, "worker"):
            self.start(part)
        self._keeps_logs.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._keeps_logs.join()
        for process in self.processes.values():
            process.kill()
            process.wait()
        self.database.stop()

    def command(self, *arguments: str) -> None:
        """Run a command of Northwatch that has to succeed."""
        command = [sys.executable, "-m", "northwatch", *arguments]
        done = subprocess.run(command, env=self.environment, check=False, capture_output=True, text=True)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"

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
                socket.create_connection(("127.0.0.1", self.port), START_S).close()
                return
            except OSError:
                time.sleep(0.05)
        raise TimeoutError(f"the gateway does not listen:\n{self.output(self.gateways[0])}")

    def wait_for_all_gateways(self) -> None:
        """Wait until every new one listens, so that the kernel divides the terminals among them."""
        deadline = time.monotonic() + START_S
        while not all(self._has_begun(part) for part in self.gateways):
            assert time.monotonic() < deadline, [self.output(part) for part in self.gateways]
            time.sleep(0.05)

    def _has_begun(self, part: str) -> bool:
        """What a gateway writes first, it writes when it listens."""
        return bool(self.ask(part).get("log", {}).get("durable"))

    def ask(self, part: str) -> dict[str, Any]:
        """Give what the part's own endpoint says, however long that takes it; nothing where there is none."""
        url = f"http://127.0.0.1:{self.health[part]}/healthz"
        try:
            try:
                answer = urllib.request.urlopen(url, timeout=START_S)
            except urllib.error.HTTPError as unwell:
                answer = unwell
            with answer:
                return dict(json.load(answer))
        except (OSError, http.client.HTTPException, ValueError):  # not there, or killed in the middle
            return {}

    def is_healthy(self, part: str) -> bool:
        """Ask the part's own endpoint."""
        return bool(self.ask(part).get("ok"))

    def output(self, part: str) -> str:
        """The end of what a part has printed."""
        return (self.directory / f"{part}.output").read_text(errors="replace")[-4000:]

    def whole_logs(self) -> Path:
        """The logs from their beginnings, with the segments that gateways have deleted since."""
        self._link_segments()
        for log in self.logs.iterdir():
            for name in ("log.json", "head", "passed"):
                with contextlib.suppress(FileNotFoundError):  # no log was passed over
                    shutil.copy(log / name, self._whole_logs / log.name)
        return self._whole_logs

    def _keep_logs(self) -> None:
        while not self._done.wait(0.05):
            self._link_segments()

    def _link_segments(self) -> None:
        for segment in self.logs.glob("*/*.seg"):
            kept = self._whole_logs / segment.parent.name
            kept.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError, FileNotFoundError):
                os.link(segment, kept / segment.name)

    def settings(self) -> Settings:
        """The settings that the processes have."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            return load()

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self.database.dsn(), autocommit=True)

    def _command(self, part: str) -> list[str]:
        command = [sys.executable, "-m", self.modules.get(part, "northwatch")]
        if part in self.gateways[1:] or part == "gateway0":
            return [*command, "gateway", "--slot", str(self.gateways.index(part))]
        return [*command, part]

"""`northwatch up` as a user starts it, in a directory and on ports of its own."""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psutil
import psycopg

from monitor.signing import COOKIE
from store.embedded import Embedded
from tests.ports import reserve

PATIENCE_S = 300
"""How long is waited for what must come; far longer than it takes."""
PASSWORD = "watching over the road"
"""The administrator's, after the first one."""

Found = TypeVar("Found")


class Service:
    """A running `northwatch up`. Use it as a context manager."""

    def __init__(self, settings: dict[str, str]) -> None:
        # Not pytest's own directory: its path may be too private for the account of the database.
        self.directory = Path(tempfile.mkdtemp(prefix="northwatch-hostile-"))
        self.data = self.directory / "data"
        self.port, self.web_port, gateway, worker, keeper = reserve(5)
        self.health_ports = {"gateway": gateway, "worker": worker, "keeper": keeper}
        self.settings = {
            "DATA_DIR": str(self.data),
            "GATEWAY__PORT": str(self.port),
            "GATEWAY__HEALTH_PORT": str(gateway),
            "WORKER__HEALTH_PORT": str(worker),
            "KEEPER__HEALTH_PORT": str(keeper),
            "MONITOR__HOST": "127.0.0.1",
            "MONITOR__PORT": str(self.web_port),
        } | settings
        clean = {name: value for name, value in os.environ.items() if not name.startswith("NORTHWATCH_")}
        self.environment = clean | {f"NORTHWATCH_{name}": value for name, value in self.settings.items()}
        self._lines: list[str] = []
        self._cookie = ""

    def __enter__(self) -> "Service":
        self.start()
        first = until(self._first_password, "the first password")
        self._sign_in(first)
        change = {"old_password": first, "new_password": PASSWORD}
        status, _, _ = self.request("POST", "/api/v1/me/password", change)
        assert status == 204, status
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self) -> None:
        """Start it. After `stop` it goes on with the same data."""
        command = [sys.executable, "-m", "northwatch", "up"]
        self.process = subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def stop(self) -> None:
        """Stop it, by force where it does not end."""
        self.process.terminate()
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            for child in psutil.Process(self.process.pid).children(recursive=True):
                child.kill()
            self.process.kill()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        self._lines += iter(self.process.stdout.readline, "")

    @property
    def said(self) -> str:
        """All that it has printed."""
        return "".join(self._lines)

    def _first_password(self) -> str | None:
        assert self.process.poll() is None, self.said
        found = re.search(r"password\s+(\S+)\s+\(shown this once\)", self.said)
        return found[1] if found else None

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of Northwatch beside the service."""
        command = [sys.executable, "-m", "northwatch", *arguments]
        return subprocess.run(
            command, env=self.environment, check=False, capture_output=True, text=True, timeout=PATIENCE_S
        )

    def kill(self, name: str) -> None:
        """kill -9 of the part of this name; `up` starts it again."""
        if part := self.part(name):
            part.send_signal(signal.SIGKILL)

    def part(self, name: str) -> psutil.Process | None:
        """Return the process of the part of this name, where there is one."""
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if name in child.cmdline()[:4]:
                    return child
        return None

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """SIGSTOP for the part of this name, for as long as the block lasts."""
        stopped = [
            child for child in psutil.Process(self.process.pid).children() if name in child.cmdline()[:4]
        ]
        assert stopped, f"there is no {name}"
        for child in stopped:
            child.suspend()
        try:
            yield
        finally:
            for child in stopped:
                child.resume()

    def _sign_in(self, password: str) -> None:
        given = {"name": "admin", "password": password}
        status, head, _ = self.request("POST", "/api/v1/sign-in", given)
        assert status == 200, status
        self._cookie = head["set-cookie"].split(";")[0]

    @property
    def cookie(self) -> str:
        """The administrator's session, as a Cookie header has it."""
        return self._cookie

    def request(
        self, method: str, path: str, body: object = None, *, timeout_s: float = PATIENCE_S, cookie: str = ""
    ) -> tuple[int, dict[str, str], bytes]:
        """Ask the monitor as the page does, as the administrator unless another session is given; return
        status, head and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.web_port, timeout=timeout_s)
        head = {"Cookie": cookie or self._cookie, "Origin": f"http://127.0.0.1:{self.web_port}"}
        data = None
        if isinstance(body, bytes):
            data = body
        elif body is not None:
            head["Content-Type"], data = "application/json", json.dumps(body).encode()
        try:
            connection.request(method, path, data, head)
            answer = connection.getresponse()
            given = [(name.lower(), value) for name, value in answer.getheaders()]
            # Beside the session's cookie there is that of the device.
            session = [each for each in given if each[1].startswith(f"{COOKIE}=")]
            return answer.status, dict(given + session), answer.read()
        finally:
            connection.close()

    def api(self, path: str) -> Any:
        """Return what the API answers to a GET."""
        status, _, body = self.request("GET", f"/api/v1{path}")
        assert status == 200, (path, status, body[:400])
        return json.loads(body)

    def health(self, part: str) -> dict[str, Any]:
        """Return what a part's own endpoint says; nothing where it says nothing."""
        connection = http.client.HTTPConnection("127.0.0.1", self.health_ports[part], timeout=PATIENCE_S)
        try:
            connection.request("GET", "/healthz")
            return dict(json.loads(connection.getresponse().read()))
        except (OSError, http.client.HTTPException, ValueError):
            return {}
        finally:
            connection.close()

    def connect(self) -> "psycopg.Connection[tuple[Any, ...]]":
        """Connect to its database."""
        return psycopg.connect(Embedded(self.data / "database").dsn(), autocommit=True)

    def row(self, statement: str, *parameters: object) -> tuple[Any, ...]:
        """Return the first row of a statement."""
        with self.connect() as connection:
            found = connection.execute(statement, parameters).fetchone()
        assert found is not None
        return found

    def memory_mb(self) -> float:
        """Return what all processes have in memory, without the database's."""
        total = 0
        for child in psutil.Process(self.process.pid).children():
            try:
                if "northwatch" in child.cmdline():
                    total += child.memory_info().rss
            except psutil.Error:
                continue
        return total / 1e6


def until(look: Callable[[], Found | None], what: str, patience_s: float = PATIENCE_S) -> Found:
    """Look again and again until there is something, and return it."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {patience_s} s")

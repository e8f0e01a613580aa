"""A whole center with a demo fleet, as `northwatch up --demo` starts it, on free ports and in a hurry."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TypeVar

import psutil

from northwatch.sim.roads import Place
from protocol.jsonl import encode_record
from tests.ports import reserve

PATIENCE_S = 120
"""How long a test waits for what must come; far longer than it takes."""
ADMIN = "admin"
EMERGENCY, OVERSPEED = 1 << 0, 1 << 1
ACC_ON, POSITIONED = 1 << 0, 1 << 1
SHENYANG = Place(lat=41.805, lon=123.432, heading_deg=90)

HURRIED_DEMO = {
    "REPORT_S": "1.5",
    "CYCLE_S": "90",
    "EMERGENCY_AT_S": "6",
    "SILENCE_AT_S": "8",
    "SILENCE_LASTS_S": "36",
    "MOVING_S": "9",
    "DWELL_S": "3",
}
"""The demo's story in half of its time."""

Found = TypeVar("Found")


class Center:
    """One running `northwatch up --demo`."""

    def __init__(self, directory: Path, vehicles: int) -> None:
        self.terminal_port, self.web_port, *health_ports = reserve(5)
        self.directory = directory
        self.url = f"http://127.0.0.1:{self.web_port}"
        settings = {
            "DATA_DIR": str(directory),
            "GATEWAY__PORT": str(self.terminal_port),
            "MONITOR__PORT": str(self.web_port),
            "GATEWAY__HEALTH_PORT": str(health_ports[0]),
            "WORKER__HEALTH_PORT": str(health_ports[1]),
            "KEEPER__HEALTH_PORT": str(health_ports[2]),
            **{f"DEMO__{name}": value for name, value in HURRIED_DEMO.items()},
        }
        environ = {name: value for name, value in os.environ.items() if not name.startswith("NORTHWATCH_")}
        environ |= {f"NORTHWATCH_{name}": value for name, value in settings.items()}
        command = [sys.executable, "-m", "northwatch", "up", "--demo", str(vehicles)]
        self._process = subprocess.Popen(
            command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._lines: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()
        self.password = until(self._first_password)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        self._lines += iter(self._process.stdout.readline, "")

    @property
    def said(self) -> str:
        return "".join(self._lines)

    def _first_password(self) -> str | None:
        assert self._process.poll() is None, self.said
        found = re.search(r"password\s+(\S+)\s+\(shown this once\)", self.said)
        return found[1] if found else None

    def kill(self, name: str) -> None:
        """Kill one of its processes; `up` starts it again."""
        for child in psutil.Process(self._process.pid).children():
            if name in child.cmdline()[:4]:
                child.send_signal(signal.SIGKILL)

    def send(self, data: bytes) -> None:
        """Send bytes as a terminal would, and wait until the gateway has them (it answers, or closes)."""
        with socket.create_connection(("127.0.0.1", self.terminal_port), PATIENCE_S) as link:
            link.sendall(data)
            link.shutdown(socket.SHUT_WR)
            while link.recv(4096):
                pass

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


def location_report(
    terminal: str,
    alarm_bits: int = 0,
    *,
    at: datetime | None = None,
    place: Place = SHENYANG,
    speed_kmh: float = 60.0,
) -> bytes:
    """Write a 0x0200 with the ignition on, of now unless told otherwise."""
    beijing = (at or datetime.now(UTC)).astimezone(timezone(timedelta(hours=8)))
    degrees = round(place.lat * 1e6), round(place.lon * 1e6)
    body = b"".join(value.to_bytes(4, "big") for value in (alarm_bits, ACC_ON | POSITIONED, *degrees))
    body += b"".join(value.to_bytes(2, "big") for value in (50, round(speed_kmh * 10), place.heading_deg))
    body += bytes.fromhex(f"{beijing:%y%m%d%H%M%S}")
    record = {"msg_id": "0x0200", "terminal": terminal, "body": {"raw": body.hex()}}
    return bytes.fromhex(encode_record(record)["hex"])


def until(look: Callable[[], Found | None]) -> Found:
    """Look again and again until there is something, and give it."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError(f"nothing within {PATIENCE_S} s")

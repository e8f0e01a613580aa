"""A whole center, as `northwatch up` starts it, on free ports, and vehicles that tests drive."""

import contextlib
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
from typing import Any, TypeVar

import httpx
import psutil

from northwatch.sim.roads import ROADS, Place
from protocol.connection import Received, Terminal
from protocol.edition import Edition
from protocol.jsonl import encode_record
from protocol.messages.location import location
from tests.ports import reserve

PATIENCE_S = 300
"""How long a test waits for what must come; far longer than it takes."""
ADMIN = "admin"
EMERGENCY, OVERSPEED = 1 << 0, 1 << 1
ACC_ON, POSITIONED = 1 << 0, 1 << 1
SHENYANG = Place(lat=41.805, lon=123.432, heading_deg=90)

HURRIED_DEMO = {
    "DEMO__REPORT_S": "1.5",
    "DEMO__CYCLE_S": "90",
    "DEMO__EMERGENCY_AT_S": "6",
    "DEMO__SILENCE_AT_S": "8",
    "DEMO__SILENCE_LASTS_S": "36",
    "DEMO__MOVING_S": "9",
    "DEMO__DWELL_S": "3",
    "SILENCE__MASS_SHARE": "1",
    "SILENCE__MASS_LEAST": "1000",
}
"""The demo's story in half of its time. Where other tests starve the fleet, some of it falls silent together,
and that is no reason to keep tickets back.
"""

Found = TypeVar("Found")


class Center:
    """One running `northwatch up`, with a demo fleet of so many vehicles, or none."""

    def __init__(self, directory: Path, demo: int = 0) -> None:
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
            **(HURRIED_DEMO if demo else {}),
        }
        environ = {name: value for name, value in os.environ.items() if not name.startswith("NORTHWATCH_")}
        environ |= {f"NORTHWATCH_{name}": value for name, value in settings.items()}
        command = [sys.executable, "-m", "northwatch", "up", *(["--demo", str(demo)] if demo else [])]
        self._process = subprocess.Popen(
            command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._lines: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()
        self.password = "watching over the road"
        self._change_password(until(self._first_password))

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

    def _change_password(self, first: str) -> None:
        """Have the administrator choose a password, as everybody has to at first."""
        with httpx.Client(base_url=f"{self.url}/api/v1", timeout=PATIENCE_S, trust_env=False) as client:
            given = {"name": ADMIN, "password": first}
            client.post("/sign-in", json=given).raise_for_status()
            change = {"old_password": first, "new_password": self.password}
            client.post("/me/password", json=change).raise_for_status()

    def kill(self, name: str) -> None:
        """Kill one of its processes; `up` starts it again."""
        for child in psutil.Process(self._process.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
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


class Vehicle:
    """A vehicle that does what its test says, and nothing else: silent means that the test says nothing."""

    def __init__(self, center: Center, identity: str, plate: str) -> None:
        """Register under a plate and authenticate."""
        self.plate = plate
        self.km = 12.0
        self._terminal = Terminal(identity, Edition.E2013)
        self._link = socket.create_connection(("127.0.0.1", center.terminal_port), PATIENCE_S)
        registered = self._answer(self._terminal.register(plate, 2))
        self._answer(self._terminal.authenticate(registered["auth_code"]))

    def report(self, alarm_bits: int = 0) -> None:
        """Report from a little further on the road, and wait for the answer."""
        self.km += 0.5
        place = ROADS[0].place(self.km)
        now = datetime.now(UTC)
        fields = location(place.lat, place.lon, now, alarm=alarm_bits, speed_kmh=60.0)
        self._answer(self._terminal.report(fields | {"direction_deg": place.heading_deg}))

    def say_last(self, frames: bytes) -> None:
        """Say something that is written already, and wait until the gateway has it (it closes)."""
        self._link.sendall(frames)
        self._link.shutdown(socket.SHUT_WR)
        while self._link.recv(4096):
            pass

    def leave(self) -> None:
        self._link.close()

    def _answer(self, serial: int) -> dict[str, Any]:
        """Send what the terminal has to say, and give the answer to its message `serial`."""
        self._link.sendall(self._terminal.data_to_send())
        while data := self._link.recv(65536):
            for event in self._terminal.receive(data, 0.0):
                assert isinstance(event, Received)
                fields = event.fields()
                if isinstance(fields, dict) and fields.get("ack_serial") == serial:
                    assert fields["result"] == 0, fields
                    return fields
        raise AssertionError("the gateway closed the link")


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

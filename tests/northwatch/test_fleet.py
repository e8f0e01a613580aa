"""A simulated fleet on real sockets, against a platform of a few lines."""

import asyncio
import os
import signal
import ssl
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from northwatch.sim.fleet import Drive, Fleet, Plan, Route
from protocol.connection import Connection, Received, Role, address_of
from tests.gateway.authority import Authority
from tests.gateway.device import running, until
from tests.ports import reserve


class Peer(asyncio.Protocol):
    """Answers everything and notes it by terminal."""

    heard: defaultdict[str, list[int]]

    def __init__(self, heard: defaultdict[str, list[int]]) -> None:
        self.heard = heard
        self.link = Connection(Role.PLATFORM)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        for event in self.link.receive(data, 0.0):
            assert isinstance(event, Received)
            frame = event.frame
            self.heard[frame.identity].append(frame.msg_id)
            if frame.msg_id == 0x0100:
                fields = {"ack_serial": frame.serial, "result": 0, "auth_code": "code"}
                self.link.send(0x8100, fields, address_of(frame))
            elif frame.msg_id != 0x0001:
                self.link.reply(frame)
        self.transport.write(self.link.data_to_send())


@pytest.fixture
async def heard() -> AsyncIterator[defaultdict[str, list[int]]]:
    """What a listening platform heard; its port is the key "port"."""
    heard: defaultdict[str, list[int]] = defaultdict(list)
    server = await asyncio.get_running_loop().create_server(lambda: Peer(heard), "127.0.0.1", 0)
    heard["port"].append(server.sockets[0].getsockname()[1])
    yield heard
    server.close()


async def until_reported(heard: defaultdict[str, list[int]], fleet: Fleet, times: int = 1) -> None:
    while not all(heard[device.identity].count(0x0200) >= times for device in fleet.devices):  # noqa: ASYNC110
        await asyncio.sleep(0.05)


async def test_every_vehicle_registers_authenticates_and_reports(heard: defaultdict[str, list[int]]) -> None:
    fleet, stop = Fleet(Plan(terminals=40, report_s=1.0)), asyncio.Event()
    driving = asyncio.create_task(Drive(fleet, Route("127.0.0.1", heard["port"][0])).run(stop, None))
    await until_reported(heard, fleet, times=2)
    stop.set()
    await driving
    for device in fleet.devices:
        assert heard[device.identity][:2] == [0x0100, 0x0102]
    assert len({device.plate.number for device in fleet.devices}) == 40
    assert {device.edition.value for device in fleet.devices} == {"2011", "2013", "2019"}


async def test_the_fleet_waits_for_a_gateway_and_comes_back_to_one() -> None:
    loop = asyncio.get_running_loop()
    heard: defaultdict[str, list[int]] = defaultdict(list)
    peers: list[Peer] = []

    def accept() -> Peer:
        peers.append(Peer(heard))
        return peers[-1]

    (port,) = reserve(1)
    fleet, stop = Fleet(Plan(terminals=3, report_s=1.0)), asyncio.Event()
    driving = asyncio.create_task(Drive(fleet, Route("127.0.0.1", port)).run(stop, None))
    server = await loop.create_server(accept, "127.0.0.1", port)
    await until_reported(heard, fleet)
    for peer in peers:
        peer.transport.abort()
    heard.clear()
    await until_reported(heard, fleet)
    assert all(0x0100 not in heard[device.identity] for device in fleet.devices)  # the code still holds
    stop.set()
    await driving
    server.close()


async def test_the_command_drives_and_stops_when_told(heard: defaultdict[str, list[int]]) -> None:
    command = [sys.executable, "-m", "northwatch", "sim", "--terminals", "2", "--interval", "0.5"]
    process = await asyncio.create_subprocess_exec(
        *command, "--port", str(heard["port"][0]), env=os.environ, stderr=subprocess.PIPE
    )
    while sum(identity != "port" for identity in heard) < 2:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = await process.communicate()
    assert process.returncode == 0
    assert b"Traceback" not in errors


@pytest.mark.parametrize("way", ["tls", "udp"])
async def test_a_fleet_against_the_gateway_over_another_transport(tmp_path: Path, way: str) -> None:
    authority = Authority(tmp_path)
    certificate = authority.issue("gateway")
    fleet, stop = Fleet(Plan(terminals=10, report_s=1.0)), asyncio.Event()
    async with running(tmp_path, None, tls_port=0, certificate=certificate, udp_port=0) as gateway:
        route = Route("127.0.0.1", gateway.udp_port, is_udp=True)
        if way == "tls":
            trust = ssl.create_default_context(cafile=authority.certificate)
            route = Route("127.0.0.1", gateway.tls_port, trust)
        driving = asyncio.create_task(Drive(fleet, route).run(stop, None))
        await until(lambda: fleet.tally.answered >= 20 and gateway.health()["sessions"] == 10)
        stop.set()
        await driving
        await until(lambda: way == "udp" or not gateway.health()["connections"])

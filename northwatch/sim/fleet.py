"""The sockets of a simulated fleet, and its clock."""

import asyncio
import random
import signal
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

import structlog
import uvloop

from gateway.datagrams import divided
from northwatch.process import prepare
from northwatch.sim.device import Device, Plate, Tally
from northwatch.sim.story import Act, DemoTimes, Scene, demo
from northwatch.sim.vehicle import Vehicle
from protocol.edition import Edition

TICK_S = 0.5
NEW_LINKS_PER_TICK = 200
"""A fleet that starts at once is a storm that no real network lets through."""
CONNECT_TIMEOUT_S = 10.0
TALLY_S = 30.0

PROVINCE_LIAONING = 21
ISSUED = (("A", 100), ("B", 200), ("C", 300), ("D", 400), ("E", 500), ("F", 600), ("G", 700), ("H", 800))
"""辽A Shenyang, 辽B Dalian …: the plate's letter and the city's code in GB/T 2260."""
BLUE, YELLOW = 1, 2
EDITIONS = (Edition.E2013, Edition.E2019, Edition.E2013, Edition.E2011, Edition.E2019)
"""In such a mix are terminals on the road."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Plan:
    """What to simulate."""

    terminals: int
    seed: int = 1
    report_s: float = 3.0
    story: DemoTimes | None = None
    """None: everybody just drives."""


@dataclass(frozen=True)
class Route:
    """Where the gateway is and how to speak to it."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    """None: without TLS."""
    is_udp: bool = False


@dataclass
class Fleet:
    """All devices of a plan."""

    plan: Plan
    tally: Tally = field(default_factory=Tally)
    devices: list[Device] = field(init=False)

    def __post_init__(self) -> None:
        self.devices = [device(number, self.plan, self.tally) for number in range(self.plan.terminals)]


def device(number: int, plan: Plan, tally: Tally) -> Device:
    """Make terminal `number` of a fleet; it is the same for the same seed whatever the size of the fleet."""
    chance = random.Random(f"device {plan.seed} {number}")
    letter, city_id = ISSUED[number % len(ISSUED)]
    plate = f"辽{letter}{chance.randint(10_000, 99_999)}"
    return Device(
        identity=f"1064{plan.seed % 1000:03}{number:05}",
        edition=EDITIONS[number % len(EDITIONS)],
        plate=Plate(plate, chance.choice((YELLOW, YELLOW, BLUE)), PROVINCE_LIAONING, city_id),
        vehicle=Vehicle.somewhere(number, chance),
        chance=chance,
        tally=tally,
        report_s=plan.report_s,
    )


class Link(asyncio.Protocol):
    """The socket of one device."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self.device.connected(time.time())
        self.flush()

    def data_received(self, data: bytes) -> None:
        self.device.received(data, time.time())
        self.flush()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self.device.disconnected(time.time())

    def flush(self) -> None:
        """Write what the device has to say, and close when it hangs up."""
        if self._transport is None:
            return
        if data := self.device.outgoing():
            self._write(data)
        if self.device.hangs_up:
            self._transport.close()

    def _write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)


class UdpLink(Link, asyncio.DatagramProtocol):
    """The UDP socket of one device."""

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.data_received(data)

    def _write(self, data: bytes) -> None:
        for datagram in divided(data):
            cast(asyncio.DatagramTransport, self._transport).sendto(datagram)


class Drive:
    """A fleet on the road."""

    def __init__(self, fleet: Fleet, route: Route) -> None:
        self.fleet, self.route = fleet, route
        self._links: dict[str, Link] = {}
        self._connecting: dict[str, asyncio.Task[None]] = {}
        self._began_at = time.time()
        plan = fleet.plan
        self._scenes: Iterator[Scene] = (
            demo(plan.terminals, plan.seed, plan.story) if plan.story else iter(())
        )
        self._next_scene = next(self._scenes, None)
        self._told_at = self._began_at
        self._is_refused = False

    async def run(self, stop: asyncio.Event, duration_s: float | None) -> None:
        """Drive until `stop`, or for `duration_s`."""
        while not stop.is_set():
            now = time.time()
            if duration_s is not None and now - self._began_at >= duration_s:
                break
            self._tell_story(now)
            self._tick(now)
            self._tell_tally(now)
            try:
                await asyncio.wait_for(stop.wait(), TICK_S)
            except TimeoutError:
                continue
        for task in self._connecting.values():
            task.cancel()
        for link in self._links.values():
            link.device.hangs_up = True
            link.flush()

    def _tick(self, now: float) -> None:
        budget = NEW_LINKS_PER_TICK - len(self._connecting)
        for device in self.fleet.devices:
            device.tick(now)
            link = self._links.get(device.identity)
            if link is not None:
                link.flush()
            if budget > 0 and device.identity not in self._connecting and device.wants_link(now):
                budget -= 1
                self._connecting[device.identity] = asyncio.create_task(self._connect(device))

    async def _connect(self, device: Device) -> None:
        route = self.route
        link = UdpLink(device) if route.is_udp else Link(device)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await _connect(link, route)
            self._links[device.identity] = link
            self._is_refused = False
        except (OSError, TimeoutError) as error:
            if not self._is_refused:  # said once, not once for each vehicle
                log.warning(
                    "gateway cannot be reached",
                    host=route.host,
                    port=route.port,
                    error=str(error) or "timed out",
                )
            self._is_refused = True
            device.disconnected(time.time())
        finally:
            self._connecting.pop(device.identity, None)

    def _tell_story(self, now: float) -> None:
        while self._next_scene is not None and now - self._began_at >= self._next_scene.at_s:
            scene = self._next_scene
            device = self.fleet.devices[scene.actor]
            device.suffer(scene.act, scene.lasts_s, now)
            log.info(_TOLD[scene.act], plate=device.plate.number, terminal=device.identity)
            self._next_scene = next(self._scenes, None)

    def _tell_tally(self, now: float) -> None:
        if now - self._told_at < TALLY_S:
            return
        self._told_at = now
        tally = self.fleet.tally
        waiting = sum(len(device.kept) for device in self.fleet.devices)
        log.info(
            "fleet",
            reports=tally.reports,
            answered=tally.answered,
            kept=waiting,
            resent=tally.resent,
            links=tally.links,
        )


async def _connect(link: Link, route: Route) -> None:
    loop = asyncio.get_running_loop()
    if isinstance(link, UdpLink):
        await loop.create_datagram_endpoint(lambda: link, remote_addr=(route.host, route.port))
    else:
        await loop.create_connection(lambda: link, route.host, route.port, ssl=route.tls)


_TOLD = {
    Act.EMERGENCY: "presses the emergency button",
    Act.POWER_LOSS: "loses main power and falls silent",
    Act.MUTE: "hangs: linked and silent",
    Act.GAP: "has no network and keeps its reports",
    Act.SPEEDING: "is late and drives too fast",
    Act.ANTENNA: "has its antenna cut",
    Act.PARKING: "parks",
    Act.SLEEP: "parks and falls asleep",
    Act.DEREGISTER: "ends work and deregisters",
}


def run(plan: Plan, route: Route, duration_s: float | None = None) -> None:
    """`northwatch sim`: drive until SIGTERM or SIGINT, or for `duration_s`."""
    prepare()

    async def drive() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        log.info("fleet drives", terminals=plan.terminals, seed=plan.seed, host=route.host, port=route.port)
        await Drive(Fleet(plan), route).run(stop, duration_s)

    uvloop.run(drive())

"""The gateway: listens, reads in turns, keeps the clock of the log, and stops without losing an answer.

One **turn** of the event loop: links gather what arrives; everything gathered is read as one batch
(`gateway.pipeline`), appended to the log and synced (`gateway.commits`); then the answers leave, one write
for each link. While a sync runs in its thread, or fails, the next turn waits and data gathers, up to a
limit at which nothing is read any more.
"""

import asyncio
import contextlib
import os
import resource
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from gateway.addresses import Addresses, AddressLimits, Network
from gateway.certificates import Certificate, CertificateFiles
from gateway.commits import Answers, Commits, Log
from gateway.credentials import Credentials, load_secret
from gateway.fleet import Fleet, FleetData, FleetSource
from gateway.links import Link, LinkTable, Pause
from gateway.listening import Listening, Ports
from gateway.metrics import Figures, counter, counters, gauge, sync_histogram
from gateway.pipeline import Counts, Pipeline
from gateway.reception import PublicKey, Reception
from gateway.repairs import QUIET_S, recent_fragments
from gateway.sessions import SessionNumbers, Sessions
from store.log import LogError, LogWriter
from store.records import CloseReason, Event, Started, Tick

logger = structlog.get_logger()

TICK_S: Final = 1.0
"""The log's clock."""

MAX_GATHERED_BYTES: Final = 16 * 1024 * 1024
"""More than this is not read while the log is busy."""

HALF_FRAME_S: Final = 30.0
"""A frame takes less than a second even over a bad mobile link. Who needs longer holds a place for
nothing.
"""

CLOSING_S: Final = 5.0
"""So long a link that is being closed may take its last answers."""

OWN_DESCRIPTORS: Final = 64
"""Files and sockets of the process that are no links."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """What may be set about a gateway."""

    data_dir: Path
    """Holds the secret of the authentication codes, the copy of the fleet, and the reserved session
    numbers.
    """
    host: str | tuple[str, ...] = "0.0.0.0"
    """One or several addresses; `::` alone is every address, IPv4 and IPv6."""
    port: int = 7611
    """0 takes any free one."""
    tls_port: int | None = None
    """For TLS, with `certificate`."""
    certificate: CertificateFiles | None = None
    udp_port: int | None = None
    balancers: tuple[Network, ...] = ()
    """From there come connections whose source a PROXY header tells."""
    address_limits: AddressLimits = field(default_factory=AddressLimits)
    reuse_port: bool = False
    """Whether other gateway processes listen on the same ports."""
    policy: Literal["open", "known"] = "open"
    """Whether terminals that nobody entered may register, see `gateway.reception`."""
    idle_timeout_s: float = 600.0
    """A link on which nothing is received for so long is closed."""
    max_connections: int = 100_000
    """More links than this, or than the process may open files, are refused."""
    fleet_refresh_s: float = 5.0
    """How often the fleet's source is asked."""
    repair_after_s: float = QUIET_S
    """After so long without a new fragment of an upload the missing ones are asked for."""
    public_key: PublicKey | None = None
    """Told to terminals that send theirs."""
    slot: int = 0
    """Number of this gateway among those on the machine."""


class Gateway:
    """One listening gateway. The log belongs to the caller, who closes it after `stop`."""

    def __init__(self, options: GatewayOptions, log: Log, fleet_source: FleetSource | None = None) -> None:
        """Prepare everything but the socket.

        Raises:
            OSError: the data directory cannot be used.
            CertificateError: the certificate cannot be used.
        """
        self.options = options
        self.registry = CollectorRegistry()
        data_dir = options.data_dir
        data_dir.mkdir(parents=True, exist_ok=True)
        only_known = options.policy == "known"
        self.fleet = Fleet(data_dir / "fleet.json")
        self.credentials = Credentials(load_secret(data_dir / "secret"))
        self._numbers = SessionNumbers(data_dir / f"sessions-{options.slot}", options.slot)
        self._log = log
        self._fleet_source = fleet_source
        self._table = LinkTable(min(options.max_connections, _descriptors()))
        self._sessions = Sessions(self._table, self._numbers.next, refuses_strangers=only_known)
        self._reception = Reception(
            self._table,
            self._sessions,
            self.fleet,
            self.credentials,
            only_known=only_known,
            quiet_s=options.repair_after_s,
            public_key=options.public_key,
        )
        self._counts = Counts()
        self._pipeline = Pipeline(self._table, self._sessions, self._reception, self._counts)
        self._commits = Commits(log, self._deliver, sync_histogram(self.registry).observe, self._log_changed)
        self.registry.register(Figures(self._metrics))
        self._init_inbox()
        limits = options.address_limits
        self._addresses = Addresses(replace(limits, exempt=(*limits.exempt, *options.balancers)))
        self._certificate = Certificate(options.certificate) if options.certificate else None
        self._listening = Listening(self, self._addresses, self._certificate)
        self._timer: asyncio.TimerHandle | None = None
        self._closing: dict[Link, float] = {}
        """Links being closed, and since when."""
        self._nobody_left = asyncio.Event()
        self._fleet_due = 0.0
        self._fleet_task: asyncio.Task[None] | None = None
        self._fleet_fault = ""
        self._connections_total = self._received_bytes = self._turns = 0

    def _init_inbox(self) -> None:
        """Set up what links write to, see `gateway.links.Inbox`."""
        self.turn = 0
        self.gathered: list[Link] = []
        self.gathered_bytes = 0
        self.greedy: list[Link] = []
        self._lost: list[Link] = []
        self._leaving: list[tuple[Link, CloseReason]] = []
        self._events: list[Event] = []
        self._is_awake = False
        self._is_paused = False

    @property
    def port(self) -> int:
        """The port we listen on for plain TCP."""
        return self._listening.port("tcp")

    @property
    def tls_port(self) -> int:
        """The port we listen on for TLS."""
        return self._listening.port("tls")

    @property
    def udp_port(self) -> int:
        """The port on which we receive datagrams."""
        return self._listening.port("udp")

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address cannot be used.
        """
        self._loop = asyncio.get_running_loop()
        self._recall_fragments()
        wanted = self.options
        hosts = (wanted.host,) if isinstance(wanted.host, str) else wanted.host
        ports = Ports(
            hosts=hosts,
            tcp=wanted.port,
            tls=wanted.tls_port,
            udp=wanted.udp_port,
            reuse=wanted.reuse_port,
            balancers=wanted.balancers,
        )
        await self._listening.open(ports)
        self._events.append(Started(f"{socket.gethostname()}/{os.getpid()}"))
        self._second()
        logger.info("gateway listens", host=self.options.host, port=self.port, policy=self.options.policy)

    async def stop(self) -> None:
        """Accept and read no more, answer what can be made durable, say so in the log, and close all
        links.
        """
        assert self._timer is not None, "the gateway is not started"
        self._listening.close()
        self._timer.cancel()
        if self._fleet_task is not None:
            self._fleet_task.cancel()
        self._pause_all()
        await self._commits.settle()
        self._take_turn()
        await self._commits.settle()
        for link in self._table.links():
            self._sessions.close_link(link, CloseReason.STOPPING)
        self._take_turn()
        await self._commits.settle()
        await self._close_all()
        self._listening.end()
        self._commits.close()
        self._numbers.close()
        logger.info("gateway stopped", unanswered_links=self._commits.withheld)

    def health(self) -> dict[str, Any]:
        """Say how it goes, as JSON-ready values. May be called from another thread."""
        log, fault = self._log.state(), self._commits.fault
        return {
            "ok": not fault,
            "fault": fault,
            "connections": len(self._table),
            "sessions": len(self._sessions),
            "frames": self._counts.frames,
            "answers": self._counts.answers,
            "rejected": sum(self._counts.rejected.values()),
            "mistakes": self._counts.mistakes + self._reception.mistakes,
            "reading": not self._is_paused,
            "sync_ms": round(self._commits.median_s * 1000, 3),
            "refused_connections": sum(self._addresses.refused.values()),
            "tls": self._certificate.state() if self._certificate else None,
            "fleet": {"terminals": len(self.fleet), "fault": self._fleet_fault},
            "log": {name: getattr(log, name) for name in log.__slots__},
        }

    # What links call.

    @property
    def is_paused(self) -> bool:
        return self._is_paused

    def connected(self, link: Link) -> bool:
        now = self._loop.time()
        if link.place is None and not self._addresses.admit(link, now):
            return False
        if not self._table.admit(link, now):
            self._addresses.leave(link)
            self._addresses.refuse("capacity")
            return False
        self._connections_total += 1
        link.number = self._numbers.next(_now_us())
        if self._is_paused:
            self._loop.call_soon(link.pause, Pause.STALLED)
        return True

    def disconnected(self, link: Link) -> None:
        self._lost.append(link)
        self._closing.pop(link, None)
        if not self._closing:
            self._nobody_left.set()
        self.wake()

    def wake(self) -> None:
        if not self._is_awake:
            self._is_awake = True
            self._loop.call_soon(self._take_turn)
        if self.gathered_bytes > MAX_GATHERED_BYTES and self._commits.is_busy:
            self._pause_all()

    # A turn.

    def _take_turn(self) -> None:
        """Read, append, sync and answer what was gathered."""
        self._is_awake = False
        if self._commits.is_busy:
            return  # `_log_changed` comes back to it
        links, self.gathered = self.gathered, []
        greedy, self.greedy = self.greedy, []
        self._received_bytes += self.gathered_bytes
        self.gathered_bytes = 0
        self.turn += 1
        now_us = _now_us()
        records, answers = self._pipeline.read(links, self._loop.time(), now_us)
        self._end_lost_links()
        self._leaving += _drained(self._sessions.forsaken)
        opened, closed, events = (
            _drained(some) for some in (self._sessions.opened, self._sessions.closed, self._events)
        )
        everything = [*opened, *records, *closed, *events]
        for record in everything:
            self._log.append(record, now_us)
        if everything:
            self._commits.commit(answers)
        else:
            self._deliver(answers)
        for link in greedy:
            link.resume(Pause.BUDGET)

    def _deliver(self, answers: Answers) -> None:
        """Write answers to their links, and close those that are to leave."""
        self._turns += 1
        for link, data in answers:
            if not link.is_lost:
                link.write(data)
        for link, reason in _drained(self._leaving):
            if not link.sessions or reason in (CloseReason.GARBAGE, CloseReason.ERROR):
                self._close(link, reason)

    def _end_lost_links(self) -> None:
        """End the sessions of links that are gone, whose last data was read before."""
        for link in _drained(self._lost):
            self._sessions.close_link(link, link.close_reason)
            self._table.release(link)
            self._addresses.leave(link)

    def _log_changed(self) -> None:
        """Go on after a sync in the thread, or stop reading because one failed."""
        if self._commits.fault:
            self._pause_all()
            return
        if self._is_paused and not self._commits.is_busy:
            self._resume_all()
        self.wake()

    def _pause_all(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            for link in self._table.links():
                link.pause(Pause.STALLED)

    def _resume_all(self) -> None:
        """Read again. Nobody could be heard meanwhile, so nobody was idle."""
        self._is_paused = False
        for link in self._table.links():
            self._table.heard[link.slot] = self._loop.time()
            link.resume(Pause.STALLED)

    # Every second.

    def _second(self) -> None:
        """Append a tick, and look after links, fleet and log."""
        now = self._loop.time()
        self._timer = self._loop.call_later(TICK_S - now % TICK_S or TICK_S, self._second)
        if not self._commits.fault:
            self._events = [event for event in self._events if not isinstance(event, Tick)]
            self._events.append(Tick(len(self._sessions)))
            self._events += self._sessions.clones(_now_us())
            self._close_silent(now)
            self._ask_for_fragments(now)
        for link, since in list(self._closing.items()):
            if now - since > CLOSING_S:
                link.abort(link.close_reason)
        if self._fleet_source is not None and self._fleet_task is None and now >= self._fleet_due:
            self._fleet_due = now + self.options.fleet_refresh_s
            self._fleet_task = self._loop.create_task(self._refresh_fleet(self._fleet_source))
        self._commits.trim()
        if self._certificate is not None:
            self._certificate.refresh()
        self.wake()

    def _close_silent(self, now: float) -> None:
        """Close links that say nothing, or that never end a frame."""
        if self._is_paused:
            return
        table = self._table
        for link in table.at((now - table.heard > self.options.idle_timeout_s).nonzero()[0]):
            self._close(link, CloseReason.IDLE)
        for link in table.at((now - table.half_since > HALF_FRAME_S).nonzero()[0]):
            if not link.paused:
                self._close(link, CloseReason.GARBAGE)

    def _recall_fragments(self) -> None:
        """Go on with uploads that an earlier gateway saw begin; else more is asked for than is missing."""
        if not isinstance(self._log, LogWriter):
            return
        now, now_us = self._loop.time(), _now_us()
        try:
            for frame, at_us in recent_fragments(self._log.directory, now_us):
                self._reception.recall(frame, now - (now_us - at_us) / 1e6)
        except LogError as error:
            logger.warning("uploads under way are not known", error=str(error))

    def _ask_for_fragments(self, now: float) -> None:
        """Ask for what is missing of uploads. While nothing is read, nothing can have come."""
        if not self._is_paused:
            for link, data in self._reception.ask_again(now):
                link.write(data)

    def send(self, identity: str, msg_id: int, body: bytes) -> range | None:
        """Send a message to a terminal, and give the serials of its fragments, which wrap behind 65535. None
        where the terminal is not connected.

        Raises:
            LocalProtocolError: the message fits no frames.
        """
        session = self._sessions.of(int(identity, 16))
        if session is None or session.link.is_lost:
            return None
        data, serials = self._reception.send(session, msg_id, body)
        session.link.write(data)
        return serials

    def _close(self, link: Link, reason: CloseReason) -> None:
        if not link.is_lost and link not in self._closing:
            self._closing[link] = self._loop.time()
            logger.info(
                "link closed", peer=link.peer, terminals=len(link.sessions), reason=reason.name.lower()
            )
            link.close(reason)

    async def _close_all(self) -> None:
        """Close every link; those that do not take their last answers in time are cut."""
        for link in self._table.links():
            self._close(link, CloseReason.STOPPING)
        if self._closing:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._nobody_left.wait(), CLOSING_S)
        for link in list(self._closing):
            link.abort(CloseReason.STOPPING)

    async def _refresh_fleet(self, source: FleetSource) -> None:
        """Ask the database for the fleet. Without it, the copy stays as it is."""
        try:
            data: FleetData | None = await asyncio.to_thread(self.fleet.fetch, source)
        except Exception as error:  # whatever is wrong there, terminals are answered here
            if not self._fleet_fault:
                logger.warning("fleet cannot be refreshed", error=str(error))
            self._fleet_fault = f"{type(error).__name__}: {error}"
        else:
            self._fleet_fault = ""
            if data is not None:
                self._sessions.block(self.fleet.replace(data))
                self.wake()
        finally:
            self._fleet_task = None

    def _metrics(self) -> Iterable[Metric]:
        counts, reception, log = self._counts, self._reception, self._log.state()
        yield counter("frames", "Valid frames received", counts.frames)
        yield counter("frames_singly", "Of these, read one by one", counts.frames_by_hand)
        yield counter(
            "mistakes", "Frames and batches that made us fail", counts.mistakes + reception.mistakes
        )
        yield counter("answers", "Answers sent after their frame was durable", counts.answers)
        yield counters("rejected", "Pieces of input that are no frame", "reason", counts.rejected)
        yield counters("refused_frames", "Frames of terminals not let in", "reason", reception.refused)
        yield counter("repair_requests", "Requests for lost fragments", self._reception.repairs.requests)
        yield gauge("uploads", "Messages in pieces under way", len(self._reception.repairs))
        yield counter("received_bytes", "Bytes received", self._received_bytes)
        yield counter("turns", "Batches read", self._turns)
        yield counter("connections_accepted", "Connections accepted", self._connections_total)
        yield counters("connections_refused", "Connections not let in", "reason", self._addresses.refused)
        yield gauge("connections", "Connections open", len(self._table))
        yield gauge("connections_pending", "Connections that are no links yet", self._listening.pending)
        yield gauge("addresses", "Addresses with connections, now or lately", len(self._addresses))
        yield from self._listening.metrics()
        yield gauge("sessions", "Terminals connected", len(self._sessions))
        yield gauge("log_position", "Durable position of the log", log.durable)
        yield gauge("log_bytes", "Bytes the log takes", log.used_bytes)
        yield gauge("log_quota_bytes", "Bytes the log may take", log.quota_bytes)
        yield gauge("log_failing", "1 while nothing can be made durable", bool(self._commits.fault))


def _drained(items: "list[Any]") -> "list[Any]":
    """Empty a list and give what was in it."""
    taken = items[:]
    items.clear()
    return taken


def _now_us() -> int:
    return time.time_ns() // 1000


def _descriptors() -> int:
    """Give how many links the process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(soft - OWN_DESCRIPTORS, 1)

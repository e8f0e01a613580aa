"""The gateway: listens, reads in turns, keeps the clock of the log, and stops without losing an answer.

One **turn** of the event loop: links gather what arrives; everything gathered is read as one batch
(`gateway.pipeline`), appended to the log and synced (`gateway.commits`); then the answers leave, one write
for each link. While a sync runs in its thread, or fails, the next turn waits and data gathers, up to a
limit at which nothing is read any more.
"""

import asyncio
import contextlib
import gc
import math
import os
import random
import resource
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from gateway.addresses import Addresses, AddressLimits, Network, Place
from gateway.allowance import Allowance
from gateway.certificates import Certificate, CertificateFiles
from gateway.clock import ReceiveClock
from gateway.commits import Answers, Commits, Log
from gateway.conditions import Condition
from gateway.credentials import Credentials, load_secret
from gateway.fleet import Fleet, FleetSource
from gateway.links import MAX_GATHERED_BYTES, Link, LinkTable, Pause
from gateway.listening import Listening, Ports
from gateway.lobby import Lobby, LobbyLimits
from gateway.metrics import Figures, counter, counters, gauge, sync_histogram
from gateway.pipeline import Counts, Pipeline
from gateway.reception import PublicKey, Reception
from gateway.repairs import QUIET_S, recent_fragments
from gateway.ring import Way
from gateway.sessions import SessionNumbers, Sessions
from gateway.siblings import News, Siblings, What
from gateway.standing import Standings
from store.log import LogError, LogWriter
from store.records import CloseReason, Decided, Event, Frames, Started, Tick
from store.storage import make_directory

logger = structlog.get_logger()

TICK_S: Final = 1.0
"""The log's clock."""

HALF_FRAME_S: Final = 30.0
"""A frame takes less than a second even over a bad mobile link. Who needs longer holds a place for
nothing.
"""

FIRST_FRAME_S: Final = 60.0
"""A connection on which no terminal speaks is closed after so long; terminals speak first, and at once."""

CLOGGED_S: Final = 60.0
"""A link that leaves its answers unread for so long is cut: two minutes and more of a terminal's reports."""

CHECK_BYTES: Final = 4 * 1024 * 1024
"""Whenever so much was received, and every second, links are held to their allowance."""

DRAIN_STEP_S: Final = 0.1
DRAIN_LINKS: Final = 50
"""At a stop at least so many links are closed in each step, so that a small fleet does not wait."""

JUDGED_AT_ONCE: Final = 256
"""Terminals whose sessions are looked at in one turn, when something was decided about many together."""

FLEET_PATIENCE_S: Final = 60.0
"""A database that starts together with us, or again, is no news; one that stays away makes the copy old."""

REST_S: Final = 0.02
"""Of a link that sent more than its share while others had something to say: 0.4 MB/s remain, 6,000 reports,
for one or two hundredths of the processor.
"""

TURN_S: Final = 0.002
"""While few of many links speak at a time, turns begin at most so often: one costs a third of a millisecond
whatever it holds, and with a few reports in each those of a large fleet would take half of a processor. Where
most links have spoken there is nobody to wait for.
"""

FEW_OF: Final = 8
"""Few links are less than this part of all."""

ALONE_S: Final = 0.005
"""When nobody else has spoken for so long, there is time, and such a link goes on at once."""

GARBAGE_REST_S: Final = 0.1
"""Of a link that sends nothing but garbage: until its budget is used up it takes no more of the processor."""

LINGER_S: Final = 5.0
"""A link that is closed for its garbage is deaf for so long before: who connects again whenever it is closed
costs no more than a sign-in in this time.
"""

CLOSING_S: Final = 5.0
"""So long a link that is being closed may take its last answers."""

GARBAGE_OBJECTS: Final = (50_000, 20, 20)
"""Python looks for cycles of dead objects when so many more were made than freed, and at all objects after so
many such looks. By its own measure, 700 of them, each turn of a large fleet would be a reason: with 18,000
connections looks took a third of a turn's time, and one at everything 60 ms.
"""

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
    """A link on which no frame is received for so long is closed."""
    allowance: Allowance = field(default_factory=Allowance)
    """What one terminal may send."""
    lobby: LobbyLimits = field(default_factory=LobbyLimits)
    """How many new terminals may come by themselves."""
    drain_s: float = 10.0
    """A stop closes the links over so long, so that not all terminals come back at one moment."""
    io_uring: Way = "auto"
    """Whether plain connections are read and written with one system call for many."""
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
        make_directory(data_dir)
        only_known = options.policy == "known"
        self.fleet = Fleet(data_dir / "fleet.json")
        self.credentials = Credentials(load_secret(data_dir / "secret"))
        self._numbers = SessionNumbers(data_dir / f"sessions-{options.slot}", options.slot)
        self._log = log
        self._fleet_source = fleet_source
        self._table = LinkTable(min(options.max_connections, _descriptors()), options.allowance)
        self._standings = Standings(self.fleet, only_known=only_known)
        self._sessions = Sessions(self._table, self._numbers.next, self._standings)
        self._siblings = Siblings(data_dir / "gateways", options.slot, self._hear)
        self._clock = ReceiveClock()
        self._lobby = Lobby(options.lobby, self.fleet)
        self._reception = Reception(
            self._table,
            self._sessions,
            self.fleet,
            self.credentials,
            self._lobby,
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
        self._decided = 0
        """The last version of decisions that stands in the log."""
        self._fleet_condition = Condition(bad_after_s=FLEET_PATIENCE_S)
        self._lobby_condition = Condition(good_after_s=FLEET_PATIENCE_S)
        self._connections_total = self._received_bytes = self._turns = 0
        self._own_mistakes = 0
        """Turns, records and answers that made us fail."""

    def _init_inbox(self) -> None:
        """Set up what links write to, see `gateway.links.Inbox`."""
        self.turn = 0
        self.gathered: list[Link] = []
        self.gathered_bytes = 0
        self.greedy: list[Link] = []
        self._lost: list[Link] = []
        self._leaving: list[tuple[Link, CloseReason]] = []
        self._events: list[Event] = []
        self._clogged: dict[Link, float] = {}
        """Links that leave their answers unread, and since when."""
        self._slowed: set[Link] = set()
        """Links that have used up their allowance."""
        self._resting: set[Link] = set()
        """Links that are not read for a moment."""
        self._held_up: list[Link] = []
        """Links to go on when there is reading again."""
        self._others_at = -math.inf
        """When links last spoke that wanted no more than their share."""
        self._unchecked_bytes = 0
        self._dismissed: list[Link] = []
        """Links to be closed because we stop."""
        self.is_awake = False
        self._is_reading = False
        self._is_paused = False
        self._is_stopping = False

    @property
    def port(self) -> int:
        """The port we listen on for plain TCP."""
        return self._listening.ports["tcp"]

    @property
    def tls_port(self) -> int:
        """The port we listen on for TLS."""
        return self._listening.ports["tls"]

    @property
    def udp_port(self) -> int:
        """The port on which we receive datagrams."""
        return self._listening.ports["udp"]

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address cannot be used, or io_uring is to be and is not there.
        """
        self._loop = asyncio.get_running_loop()
        gc.set_threshold(*GARBAGE_OBJECTS)
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
            io_uring=wanted.io_uring,
        )
        if wanted.reuse_port:
            self._siblings.open()
        await self._listening.open(ports)
        self._events.append(Started(f"{socket.gethostname()}/{os.getpid()}"))
        self._tell_decided()
        self._second()
        logger.info("gateway listens", hosts=hosts, policy=wanted.policy, **self._listening.ports)

    async def stop(self) -> None:
        """Let nobody in any more, close all links over `GatewayOptions.drain_s`, and say so in the log. What
        was received until then is answered if it can be made durable.
        """
        assert self._timer is not None, "the gateway is not started"
        self._listening.close()
        if self._fleet_task is not None:
            self._fleet_task.cancel()
        await self._drain()
        self._timer.cancel()
        self._is_stopping = True
        self._events += self._reception.refusals.take(math.inf)
        self._pause_all()
        for link in self._table.links():
            link.held = b""  # nobody was told that we have it
        await self._commits.settle()
        self._dismissed = self._table.links()
        self._take_turn()
        await self._commits.settle()
        while self.gathered and not self._commits.is_busy:
            self._take_turn()
            await self._commits.settle()
        self.turn += 1  # what could not be read by now is nobody's any more
        await self._close_all()
        await self._commits.settle()
        self._listening.end()
        self._siblings.close()
        self._commits.close()
        self._numbers.close()
        logger.info("gateway stopped", unanswered_links=self._commits.withheld)

    async def _drain(self) -> None:
        """Close most links a few at a time, in no order: a fleet that comes back all at once is an outage."""
        links = self._table.links()
        random.shuffle(links)
        step = max(
            DRAIN_LINKS, math.ceil(len(links) * DRAIN_STEP_S / max(self.options.drain_s, DRAIN_STEP_S))
        )
        for begin in range(0, len(links) - step, step):
            for link in links[begin : begin + step]:
                if not link.is_lost:
                    link.pause(Pause.LEAVING)
                    self._dismissed.append(link)
            self.wake()
            await asyncio.sleep(DRAIN_STEP_S)

    def health(self) -> dict[str, Any]:
        """Say how it goes, as JSON-ready values. May be called from another thread."""
        log, fault = self._log.state(), self._commits.trouble
        return {
            "ok": not fault,
            "fault": fault,
            "connections": len(self._table),
            "sessions": len(self._sessions),
            "frames": self._counts.frames,
            "answers": self._counts.answers,
            "rejected": sum(self._counts.rejected.values()),
            "mistakes": self._mistakes,
            "reading": not self._is_paused,
            "sync_ms": round(self._commits.median_s * 1000, 3),
            "io_uring": self._listening.has_ring,
            "refused_connections": sum(self._addresses.refused.values()),
            "tls": self._certificate.state() if self._certificate else None,
            "fleet": {"terminals": len(self.fleet), "fault": self._fleet_fault},
            "lobby": {
                "waiting": self._lobby.waiting,
                "most": self.options.lobby.most,
                "is_full": self._lobby.is_full(self._now_us()),
            },
            "log": {name: getattr(log, name) for name in log.__slots__},
        }

    @property
    def _mistakes(self) -> int:
        return self._counts.mistakes + self._reception.mistakes + self._own_mistakes

    # What links call.

    @property
    def is_paused(self) -> bool:
        return self._is_paused

    def connected(self, link: Link) -> bool:
        now = self._loop.time()
        if link.place is None and not self._addresses.admit(link, now):
            return False
        if (guest := self._table.crowded_out()) is not None:
            guest.abort(CloseReason.IDLE)
            self._addresses.refuse("crowded_out")
        if not self._table.admit(link, now):
            self._addresses.leave(link)
            self._addresses.refuse("capacity")
            return False
        if (stranger := self._addresses.meet(link)) is not None:
            stranger.abort(CloseReason.IDLE)
        self._connections_total += 1
        self._inherit(link, now)
        link.number = self._numbers.next(self._now_us())
        if self._is_paused:
            self._loop.call_soon(link.pause, Pause.STALLED)
        return True

    def clogged(self, link: Link, *, is_clogged: bool) -> None:
        if is_clogged:
            self._clogged[link] = self._loop.time()
        else:
            self._clogged.pop(link, None)

    def disconnected(self, link: Link) -> None:
        self._lost.append(link)
        self._clogged.pop(link, None)
        self._closing.pop(link, None)
        if not self._closing:
            self._nobody_left.set()
        self.wake()

    def wake(self) -> None:
        if not self.is_awake:
            self.is_awake = True
            self._loop.call_soon(self._take_turn)
        if self.gathered_bytes > MAX_GATHERED_BYTES:
            if self._commits.is_busy:
                self._pause_all()
            elif not self._is_reading:
                self._take_turn()

    # A turn.

    def _take_turn(self) -> None:
        """Read, append, sync and answer what was gathered."""
        self.is_awake = False
        if self._commits.is_busy:
            return  # `_log_changed` comes back to it
        self._is_reading = True
        began = time.monotonic()
        links, self.gathered = self.gathered, []
        greedy, self.greedy = self.greedy, []
        try:
            self._read(links, greedy)
        except Exception:  # a mistake of ours: what was read and not answered is sent again
            self._own_mistakes += 1
            logger.exception("turn not done", links=len(links))
        try:
            if self._unchecked_bytes > CHECK_BYTES:
                self._slow_down()
            if len(greedy) < len(links):
                self._others_at = self._loop.time()
            self._rest(greedy)
        finally:
            self._is_reading = False
        if self.gathered and not self._commits.trouble:
            self.wake()
        if links and FEW_OF * len(links) < len(self._table):
            # The whole loop rests. To look away from the connections alone would have the system go through
            # all of them, twice, for each turn.
            time.sleep(max(0.0, began + TURN_S - time.monotonic()))

    def _read(self, links: list[Link], greedy: list[Link]) -> None:
        """Read what links have gathered, of the greedy ones their share, and commit what comes of it."""
        for link in greedy:
            link.hold()
        self._received_bytes += self.gathered_bytes
        self._unchecked_bytes += self.gathered_bytes
        self.gathered_bytes = 0
        self.turn += 1
        now_us = self._now_us()
        records, answers = self._pipeline.read(links, self._loop.time(), now_us)
        for link in _drained(self._pipeline.left):
            link.wait()
        self._end_lost_links()
        for link in _drained(self._dismissed):
            if link.is_left:
                self._dismissed.append(link)
                continue
            self._sessions.close_link(link, CloseReason.STOPPING)
            self._leaving.append((link, CloseReason.STOPPING))
        self._leaving += _drained(self._sessions.forsaken)
        opened, closed, events = (
            _drained(some) for some in (self._sessions.opened, self._sessions.closed, self._events)
        )
        everything = [*opened, *records, *closed, *events]
        if not self._append(everything, now_us):
            answers = []
        if everything:
            self._commits.commit(answers)
        else:
            self._deliver(answers)
        if self._commits.trouble:
            self._pause_all()
        self._siblings.tell(_drained(self._sessions.news))

    def _append(self, records: list[Frames | Event], now_us: int) -> bool:
        """Append what can be appended, and tell whether that was all: nothing else may be answered."""
        failed = 0
        for record in records:
            try:
                self._log.append(record, now_us)
            except Exception:  # a mistake of ours costs that record
                failed += 1
                logger.exception("record not kept", kind=type(record).__name__)
        self._own_mistakes += failed
        return not failed

    def _rest(self, greedy: list[Link]) -> None:
        """Have links whose garbage nobody needs, and links that want more than their share, wait until others
        were heard: an own turn, with an own sync, would cost these more than what is read in it.
        """
        for link in _drained(self._pipeline.garbled):
            if link not in self._resting:
                link.pause(Pause.BUDGET)
                self._rest_for(link, GARBAGE_REST_S)
        for link in greedy:
            if link in self._slowed or link in self._resting:
                continue
            if self._loop.time() - self._others_at > ALONE_S:
                self._go_on(link)
            else:
                self._rest_for(link, REST_S)

    def _rest_for(self, link: Link, seconds: float) -> None:
        self._resting.add(link)
        # Not at once when time is up, but after the loop has looked who else has something: one turn for all.
        self._loop.call_later(seconds, self._loop.call_soon, self._rested, link)

    def _rested(self, link: Link) -> None:
        self._resting.discard(link)
        if link not in self._slowed:
            self._go_on(link)

    def _go_on(self, link: Link) -> None:
        """Have what a link holds read, when anything is."""
        if self._is_stopping:
            link.held = b""  # nobody was told that we have it
        elif self._is_paused:
            self._held_up.append(link)
        else:
            link.go_on()

    def _hear(self, news: list[News]) -> None:
        """Take note of what another gateway process tells."""
        for each in news:
            if each.what is What.OPENED:
                self._lobby.met(f"{each.key:X}")
        self._sessions.hear(news, self._loop.time(), self._now_us())
        self.wake()

    def _now_us(self) -> int:
        return self._clock.at(time.time_ns() // 1000, time.monotonic_ns() // 1000)

    def _slow_down(self) -> None:
        """Stop reading links that have used up their allowance."""
        self._unchecked_bytes = 0
        accounts = self._table.accounts
        accounts.pay(self._loop.time())
        for link in self._table.at(accounts.overdrawn()):
            if link not in self._slowed and not link.is_lost:
                self._slowed.add(link)
                link.pause(Pause.ALLOWANCE)

    def _let_go_on(self) -> None:
        """Read links again that have paid."""
        for link in list(self._slowed):
            if link.is_lost or not self._table.accounts.is_overdrawn(link.slot):
                self._slowed.discard(link)
                link.resume(Pause.ALLOWANCE)
                if link not in self._resting:
                    self._go_on(link)

    def _deliver(self, answers: Answers) -> None:
        """Write answers to their links, and close those that are to leave."""
        self._turns += 1
        with self._listening.together():
            for link, data in answers:
                if not link.is_lost:
                    self._write(link, data)
        for link, reason in _drained(self._leaving):
            if reason is CloseReason.GARBAGE:
                self._shun(link)
            elif not link.sessions or reason is CloseReason.ERROR:
                self._close(link, reason)

    def _write(self, link: Link, data: bytes) -> None:
        try:
            link.write(data)
        except Exception:  # a mistake of ours costs its own link
            self._own_mistakes += 1
            logger.exception("link not answered", peer=link.peer)
            link.abort(CloseReason.ERROR)

    def _end_lost_links(self) -> None:
        """End the sessions of links that are gone, once all that they sent is read."""
        lost, self._lost = self._lost, [link for link in self._lost if link.held or link.is_left]
        for link in lost:
            if link.held or link.is_left:
                continue
            self._sessions.close_link(link, link.close_reason)
            self._bequeath(link)
            self._table.release(link)
            self._addresses.leave(link)

    def _bequeath(self, link: Link) -> None:
        """Have the next link of the address owe what this one owes: connecting again pays nothing."""
        owed, now = float(self._table.accounts.owed[link.slot]), self._loop.time()
        if link.place is not None and owed > self._owed_of(link.place, now):
            link.place.owed, link.place.owed_at = owed, now

    def _inherit(self, link: Link, now: float) -> None:
        """Begin with that debt, but with a burst at most: a neighbour who only reports is not slowed."""
        if link.place is not None and link.place.key:
            owed = min(self._owed_of(link.place, now), self.options.allowance.burst_bytes)
            self._table.accounts.owed[link.slot] = owed

    def _owed_of(self, place: Place, now: float) -> float:
        return max(0.0, place.owed - (now - place.owed_at) * self.options.allowance.bytes_per_s)

    def _log_changed(self) -> None:
        """Go on after a sync in the thread, or stop reading because one failed or the log is full."""
        if self._commits.trouble:
            self._pause_all()
        elif self._is_paused and not self._commits.is_busy and not self._is_stopping:
            self._resume_all()
        if not self._commits.fault:
            self.wake()

    def _pause_all(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            for link in self._table.links():
                link.pause(Pause.STALLED)

    def _resume_all(self) -> None:
        """Read again. Nobody could be heard meanwhile, so nobody was idle."""
        self._is_paused = False
        self._table.nobody_was_idle(self._loop.time())
        for link in self._table.links():
            link.resume(Pause.STALLED)
        for link in _drained(self._held_up):
            self._go_on(link)

    # Every second.

    def _second(self) -> None:
        """Append a tick, and look after links, fleet and log."""
        now = self._loop.time()
        self._timer = self._loop.call_later(TICK_S - now % TICK_S or TICK_S, self._second)
        if not self._commits.fault:
            self._events = [event for event in self._events if not isinstance(event, Tick)]
            self._events.append(Tick(len(self._sessions)))
            self._events += self._sessions.clones(self._now_us())
            self._events += self._reception.refusals.take(now)
            self._close_silent(now)
            self._ask_for_fragments(now)
        for link, since in list(self._closing.items()):
            if now - since > CLOSING_S:
                link.abort(link.close_reason)
        for link, since in list(self._clogged.items()):
            if now - since > CLOGGED_S:
                self._cut(link, CloseReason.SLOW_READER)
        self._slow_down()
        self._let_go_on()
        if self._fleet_source is not None and self._fleet_task is None and now >= self._fleet_due:
            self._fleet_due = now + self.options.fleet_refresh_s
            self._fleet_task = self._loop.create_task(self._refresh_fleet(self._fleet_source))
        self._commits.look_after(now)
        self._tell_of_lobby(now)
        if self._certificate is not None:
            self._certificate.refresh()
        self._log_changed()

    def _close_silent(self, now: float) -> None:
        """Close links that say nothing, or nothing that is a frame, or that never end one."""
        if self._is_paused:
            return
        table, silent_s = self._table, now - self._table.heard
        is_idle = silent_s > np.where(table.session, self.options.idle_timeout_s, FIRST_FRAME_S)
        for link in table.at(is_idle.nonzero()[0]):
            if not link.paused and not link.is_left:
                self._close(link, CloseReason.IDLE)
        for link in table.at((now - table.half_since > HALF_FRAME_S).nonzero()[0]):
            if not link.paused and not link.is_left:
                self._close(link, CloseReason.GARBAGE)

    def _recall_fragments(self) -> None:
        """Go on with uploads that an earlier gateway saw begin; else more is asked for than is missing."""
        if not isinstance(self._log, LogWriter):
            return
        now, now_us = self._loop.time(), self._now_us()
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
            if reason is CloseReason.GARBAGE:
                link.held = b""
            link.close(reason)

    def _shun(self, link: Link) -> None:
        """Read a link no more, and close it after a while."""
        link.pause(Pause.LEAVING)
        link.held = b""
        self._loop.call_later(LINGER_S, self._close, link, CloseReason.GARBAGE)

    def _cut(self, link: Link, reason: CloseReason) -> None:
        """Close a link that would not take what is written to it."""
        self._clogged.pop(link, None)
        logger.info("link cut", peer=link.peer, terminals=len(link.sessions), reason=reason.name.lower())
        link.abort(reason)

    async def _close_all(self) -> None:
        """Close every link; those that do not take their last answers in time are cut."""
        for link in self._table.links():
            self._close(link, CloseReason.STOPPING)
        await self._wait_until_closed()
        for link in list(self._closing):
            link.abort(CloseReason.STOPPING)
        await self._wait_until_closed()
        self._end_lost_links()

    async def _wait_until_closed(self) -> None:
        if self._closing:
            self._nobody_left.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._nobody_left.wait(), CLOSING_S)

    async def _refresh_fleet(self, source: FleetSource) -> None:
        """Ask the database for the fleet. Without it, the copy stays as it is."""
        try:
            await asyncio.to_thread(self.fleet.refresh, source)
        except Exception as error:  # whatever is wrong there, terminals are answered here
            self._fleet_fault = f"{type(error).__name__}: {error}"
        else:
            self._fleet_fault = ""
            self._tell_decided()
        try:
            await self._judge_anew()
        finally:
            self._fleet_task = None
        if self._fleet_condition.is_news(bad=bool(self._fleet_fault), now=self._loop.time()):
            if self._fleet_fault:
                logger.warning("the copy of the fleet is getting old", error=self._fleet_fault)
            else:
                logger.info("the copy of the fleet is fresh again")

    def _tell_of_lobby(self, now: float) -> None:
        """Say when new terminals have to be refused whoever sends them."""
        is_full = self._lobby.is_full(self._now_us())
        if self._lobby_condition.is_news(bad=is_full, now=now):
            if is_full:
                logger.warning("lobby full; new terminals are refused", waiting=self._lobby.waiting)
            else:
                logger.info("the lobby has room again", waiting=self._lobby.waiting)

    def _tell_decided(self) -> None:
        """Give what people have decided meanwhile its place in the log."""
        if self.fleet.version > self._decided:
            self._decided = self.fleet.version
            self._events.append(Decided(self._decided))

    async def _judge_anew(self) -> None:
        """Have sessions go by what was decided meanwhile, some in each turn."""
        self._standings.refreshed()
        self._lobby.refreshed()
        identities = await asyncio.to_thread(self._sessions.connected, self.fleet.take_judged_anew())
        for begin in range(0, len(identities), JUDGED_AT_ONCE):
            self._sessions.judge(identities[begin : begin + JUDGED_AT_ONCE])
            self.wake()
            await asyncio.sleep(0)

    def _metrics(self) -> Iterable[Metric]:
        counts, reception, log = self._counts, self._reception, self._log.state()
        yield counter("frames", "Valid frames received", counts.frames)
        yield counter("frames_singly", "Of these, read one by one", counts.frames_by_hand)
        yield counter("mistakes", "Frames, batches and turns that made us fail", self._mistakes)
        yield counter("answers", "Answers sent after their frame was durable", counts.answers)
        yield counters("rejected", "Pieces of input that are no frame", "reason", counts.rejected)
        yield counters("refused_frames", "Frames of terminals not let in", "reason", reception.refusals.total)
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
        yield gauge("connections_slowed", "Connections that have used up their allowance", len(self._slowed))
        yield gauge("connections_clogged", "Connections that leave answers unread", len(self._clogged))
        yield gauge("lobby", "Terminals that wait to be accepted", self._lobby.waiting)
        yield gauge("sessions", "Terminals connected", len(self._sessions))
        yield counter("sibling_news", "News of sessions told to other processes", self._siblings.told)
        yield counter("sibling_news_dropped", "News of sessions that got lost", self._siblings.dropped)
        yield gauge("terminals_shared", "Terminals that several connections speak as", self._sessions.shared)
        yield gauge("log_position", "Durable position of the log", log.durable)
        yield gauge("log_bytes", "Bytes the log takes", log.used_bytes)
        yield gauge("log_quota_bytes", "Bytes the log may take", log.quota_bytes)
        yield gauge("log_failing", "1 while nothing can be made durable", bool(self._commits.fault))


def _drained(items: "list[Any]") -> "list[Any]":
    """Empty a list and give what was in it."""
    taken = items[:]
    items.clear()
    return taken


def _descriptors() -> int:
    """Give how many links the process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(soft - OWN_DESCRIPTORS, 1)

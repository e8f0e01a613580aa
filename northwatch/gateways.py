"""One or several gateway processes on this machine: `northwatch gateway --processes N`.

Each process has a **slot** from 0 to N-1: its log is `<data_dir>/log/<slot>/`, whose lock it holds, and its
`/healthz` and `/metrics` are on the loopback port `gateway.health_port` + 100 x slot. All listen on the same
ports (SO_REUSEPORT), and the kernel divides the connections. With one process there is no parent.

When N becomes smaller, logs of slots that nobody writes any more are read to their end by the worker; the
process in slot 0 removes them when nobody needs anything of them.
"""

import os
import shutil
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import structlog

from northwatch import supervisor
from northwatch.config import Settings
from northwatch.process import stop_event
from northwatch.screen import Screen
from northwatch.supervisor import Backoff, Journal, Supervisor
from store.log import LogError, LogLimits, LogReader, LogWriter, settle
from store.merge import logs_in

log = structlog.get_logger("gateway")

FIRST_WAIT_S: Final = 0.1
LONGEST_WAIT_S: Final = 0.5
"""Nobody else answers in its place: however often a gateway dies, terminals find it again within two seconds,
most of which it takes to start. One that cannot start costs two thirds of a processor.
"""

TEND_S: Final = 60.0
"""How often orphan logs are looked at. They are small work, and hold only room."""


def log_limits(settings: Settings) -> LogLimits:
    """Give the limits of each process's log: together they take the quota."""
    wanted = settings.log
    quota_bytes = wanted.quota_bytes // settings.gateway.processes
    return LogLimits(quota_bytes, wanted.free_floor_bytes, wanted.segment_bytes)


def names(settings: Settings) -> list[str]:
    """Name the processes."""
    count = settings.gateway.processes
    return ["gateway"] if count == 1 else [f"gateway{slot}" for slot in range(count)]


def start(crew: Supervisor, settings: Settings, options: Sequence[str], environ: Mapping[str, str]) -> None:
    """Add the gateway processes to a supervisor's children. `options` go to each command line."""
    command = [sys.executable, "-m", "northwatch", "gateway", *options]
    count = settings.gateway.processes
    for slot, name in enumerate(names(settings)):
        crew.add(
            name,
            [*command, "--processes", str(count), "--slot", str(slot)],
            environ,
            Backoff(FIRST_WAIT_S, LONGEST_WAIT_S),
        )


def run(settings: Settings, config: Path | None) -> None:
    """Be the parent of several gateway processes until SIGTERM or SIGINT.

    Raises:
        DirectoryUnusable
        PortTaken: something else listens on a port of ours.
    """
    stop = stop_event()
    supervisor.require_directory(settings.data_dir)
    journal = Journal(Screen(soft_wrap=True, stderr=True))
    supervisor.await_orphans(journal)
    require_ports(settings)
    crew = Supervisor(journal)
    start(crew, settings, ["--config", str(config)] if config else [], os.environ)
    crew.run(stop)
    crew.stop(["gateway"])


def require_ports(settings: Settings) -> None:
    """Make sure that nothing else listens where the gateways are to listen.

    Raises:
        PortTaken: the message names the setting.
    """
    gateway = settings.gateway
    for host in gateway.host:
        supervisor.require_free(host, gateway.port, "gateway.port")
        if gateway.tls_port is not None:
            supervisor.require_free(host, gateway.tls_port, "gateway.tls_port")
        if gateway.udp_port is not None:
            supervisor.require_free(host, gateway.udp_port, "gateway.udp_port", kind=socket.SOCK_DGRAM)
    for port in gateway.health_ports:
        supervisor.require_free("127.0.0.1", port, "gateway.health_port")


class Orphans:
    """Looks after the logs of slots that are no more, in a thread of its own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="orphans", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def tend(self) -> None:
        """Look at all of them once."""
        for slot, directory in logs_in(self._settings.data_dir / "log").items():
            if slot < self._settings.gateway.processes:
                continue
            try:
                if settle(directory) and retire(directory, is_archived=self._settings.keeper.archive):
                    log.info("orphan log removed: everything in it is read", slot=slot)
            except (LogError, OSError) as error:
                log.warning("orphan log cannot be looked after", slot=slot, error=str(error))

    def _run(self) -> None:
        while True:
            self.tend()
            if self._stop.wait(TEND_S):
                return


def retire(directory: Path, *, is_archived: bool) -> bool:
    """Remove a log that nobody writes, if nobody needs anything of it any more, and say whether it was so.

    `is_archived` says that the archive needs it, too.

    Raises:
        LogInUse: somebody writes it after all.
        LogError, OSError: it cannot be looked at.
    """
    reader = LogReader(directory)
    end = reader.head()
    if reader.consumed() < end or (is_archived and reader.archived() < end):
        return False
    writer = LogWriter(directory)  # nobody else may write it while it goes
    try:
        if writer.durable != end:
            return False
        gone = directory.with_name(f"{directory.name}-read-{writer.log_id.hex}")
        directory.rename(gone)
    finally:
        writer.close()
    shutil.rmtree(gone)
    return True

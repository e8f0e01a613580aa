"""Keeps processes running: starts them, prints what they say, starts them again when they die, stops them in
order.

A process that dies is started again after one second, then two, then four … up to thirty, or as its `Backoff`
says; a minute without dying makes it a healthy one again.
"""

import contextlib
import fcntl
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from rich.console import Console
from rich.text import Text

from northwatch.modes import close
from northwatch.process import PARENT_VARIABLE
from store.storage import make_directory
from store.text import visible

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 30.0
HEALTHY_AFTER_S = 60.0
POLL_S = 0.1
STOP_GRACE_S = 20.0
"""A process that has not stopped after this is killed; nothing acknowledged depends on a clean stop."""


class AlreadyRunning(Exception):
    """Another supervisor works in this data directory."""


class DirectoryUnusable(Exception):
    """The data directory cannot be made or written."""


class PortTaken(Exception):
    """Something else listens where we are to listen."""


@dataclass
class Backoff:
    """How long to wait before the next start: twice as long each time, from the first wait to the longest."""

    first_s: float = FIRST_WAIT_S
    longest_s: float = LONGEST_WAIT_S
    _next_s: float = 0.0

    def after(self, ran_s: float) -> float:
        """Give the wait after a process that ran for `ran_s` has died."""
        wait_s = self.first_s if ran_s >= HEALTHY_AFTER_S else max(self._next_s, self.first_s)
        self._next_s = min(2 * wait_s, self.longest_s)
        return wait_s


_COLOR: Final = re.compile("(\x1b\\[[0-9;]*m)")


def _harmless(line: str) -> str:
    """Give a line of a process with its colours, and else nothing that moves a screen."""
    pieces = _COLOR.split(line)
    return "".join(piece if number % 2 else visible(piece) for number, piece in enumerate(pieces))


class Journal:
    """Lines of several processes on one terminal, each with its name in front."""

    COLORS = ("cyan", "green", "magenta", "yellow", "blue")

    def __init__(self, console: Console) -> None:
        self._console = console
        self._styles: dict[str, str] = {}

    def say(self, name: str, line: str) -> None:
        style = self._styles.setdefault(name, self.COLORS[len(self._styles) % len(self.COLORS)])
        # One string, one write: lines of different processes never mix.
        said = Text.from_ansi(_harmless(line))
        self._console.print(Text.assemble((f"{name:<8}│ ", style), said), soft_wrap=True)


@dataclass
class Child:
    """One supervised process."""

    name: str
    command: Sequence[str]
    environ: Mapping[str, str]
    journal: Journal
    backoff: Backoff = field(default_factory=Backoff)
    restarts: int = 0
    _process: "subprocess.Popen[bytes] | None" = None
    _started_at: float = 0.0
    _start_at: float | None = None

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self, now: float) -> None:
        """Start the process; it gets a session of its own, because Ctrl-C is the supervisor's to
        interpret."""
        self._process = subprocess.Popen(
            self.command,
            env={**self.environ, PARENT_VARIABLE: str(os.getpid())},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._started_at, self._start_at = now, None
        assert self._process.stdout is not None
        threading.Thread(target=self._relay, args=(self._process.stdout,), daemon=True).start()

    @property
    def kind(self) -> str:
        """The name without the number of one among several like it."""
        return self.name.rstrip("0123456789")

    def poll(self, now: float) -> None:
        """Notice a death, and start again when the wait is over."""
        if self._start_at is not None:
            if now >= self._start_at:
                self.restarts += 1
                self.start(now)
            return
        if self._process is None or (code := self._process.poll()) is None:
            return
        wait_s = self.backoff.after(now - self._started_at)
        self._start_at = now + wait_s
        self.journal.say("up", f"{self.name} {_how_it_ended(code)}; starts again in {wait_s:g} s")

    def ask_to_stop(self) -> None:
        """Ask it to end, and do not start it again."""
        self._start_at = None
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """Ask it to end, wait, and insist."""
        self.ask_to_stop()
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.journal.say("up", f"{self.name} did not stop within {grace_s:.0f} s and is killed")
            process.kill()
            process.wait()

    def _relay(self, output: IO[bytes]) -> None:
        with output:
            for line in output:
                self.journal.say(self.name, line.decode(errors="replace").rstrip())


class Supervisor:
    """Runs children until it is told to stop."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.children: list[Child] = []
        self._watches: list[Callable[[], None]] = []

    def add(
        self,
        name: str,
        command: Sequence[str],
        environ: Mapping[str, str],
        backoff: Backoff | None = None,
    ) -> Child:
        """Start a child and keep it running; without a `backoff` of its own as everybody."""
        child = Child(name, command, environ, self.journal, backoff or Backoff())
        child.start(time.monotonic())
        self.children.append(child)
        return child

    def watch(self, look: Callable[[], None]) -> None:
        """Call `look` on every round, for what is no child."""
        self._watches.append(look)

    def round(self) -> None:
        """Look at everything once."""
        for child in self.children:
            child.poll(time.monotonic())
        for look in self._watches:
            look()

    def run(self, stop: threading.Event) -> None:
        """Go round until `stop`."""
        while not stop.wait(POLL_S):
            self.round()

    def stop(self, order: Sequence[str]) -> None:
        """Stop the children, one kind after the other in the given order."""
        self._watches.clear()
        for kind in order:
            alike = [child for child in self.children if child.kind == kind]
            for child in alike:
                child.ask_to_stop()
            for child in alike:
                child.stop()
        self.children.clear()


def require_directory(directory: Path) -> None:
    """Make the data directory where there is none, and close it to others.

    Raises:
        DirectoryUnusable
    """
    try:
        make_directory(directory)
        close(directory)
    except OSError as error:
        raise DirectoryUnusable(f"data_dir: {directory} cannot be used: {error.strerror}") from None


def lock(directory: Path) -> IO[str]:
    """Make this process the only supervisor of the data directory; the lock ends with the process.

    Raises:
        AlreadyRunning: there is one already.
        DirectoryUnusable
    """
    require_directory(directory)
    try:
        file = (directory / "supervisor.lock").open("a+")
    except OSError as error:
        raise DirectoryUnusable(f"data_dir: {directory} cannot be used: {error.strerror}") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        raise AlreadyRunning(f"Northwatch is already running in {directory} (process {owner})") from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def await_orphans(journal: Journal) -> None:
    """Wait for what a supervisor that was killed had started: it is ending, and holds ports until then."""
    deadline = time.monotonic() + STOP_GRACE_S
    if left := orphans():
        journal.say("up", f"waiting for processes of one that was killed to end: {left}")
    while orphans() and time.monotonic() < deadline:
        time.sleep(POLL_S)


def orphans() -> list[int]:
    """Find our processes whose supervisor is gone; where there is no /proc, none."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # ended since, or somebody else's
            variables = dict(
                each.split(b"=", 1) for each in environ.read_bytes().split(b"\0") if b"=" in each
            )
            parent = variables.get(PARENT_VARIABLE.encode())
            if parent is not None and not Path(f"/proc/{parent.decode()}").exists():
                found.append(int(environ.parent.name))
    return found


def require_free(host: str, port: int, setting: str, *, kind: socket.SocketKind = socket.SOCK_STREAM) -> None:
    """Make sure that we can listen there; UDP is SOCK_DGRAM.

    Raises:
        PortTaken: we cannot; the message names the setting to change.
    """
    try:
        found = socket.getaddrinfo(host or None, port, type=kind, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise PortTaken(f"{setting}: {host!r} is no address of this machine: {error.strerror}") from None
    family, _, protocol, _, address = found[0]
    with contextlib.closing(socket.socket(family, kind, protocol)) as probe:
        if kind is socket.SOCK_STREAM:  # over UDP it would let us share the port with who allows it
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            if kind is socket.SOCK_STREAM:
                probe.listen(1)
        except OSError as error:
            raise PortTaken(f"{setting}: port {port} on {host} cannot be used: {error.strerror}") from None


def _how_it_ended(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with code {code}"

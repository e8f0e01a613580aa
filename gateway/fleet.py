"""The local copy of what people decided about terminals: who is known, who is blocked, what is installed
where.

The truth is in the database. The copy is refreshed from there while the database answers, by what changed
since the last time, and kept in a file, so that a gateway that starts without it knows whom to let in.

A thread asks, and it alone writes. The event loop reads at any moment and does nothing for it: a fleet that
is read whole is made ready beside the one in use and takes its place at once, and of changes each terminal's
is one step.
"""

import os
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Final, NamedTuple, TypeAlias

import msgspec
import structlog

log = structlog.get_logger()

Plate: TypeAlias = tuple[str, int]
"""Plate and its colour by JT/T 415-2006 §5.4.12."""


class FleetTerminal(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What people decided about one terminal."""

    known: bool = False
    """Entered or accepted by a person."""
    blocked: bool = False
    plate: str = ""
    """Of the vehicle it is installed in; empty when in none."""
    plate_color: int = 0
    epoch: int = 0
    """Codes of an earlier credential epoch are worthless."""
    edition: str = ""
    """By which it registered; empty where that is not known."""
    registered: bool = False
    """It has authenticated with our code at some time."""
    speaks_without_code: bool = False
    """A person lets what it says count without."""
    forgotten: bool = False
    """It was silent for so long that nobody waits for it any more."""

    @property
    def standing(self) -> tuple[object, ...]:
        """All that its sessions are judged by, see `gateway.standing`."""
        return self.known, self.blocked, self.epoch, self.registered, self.speaks_without_code

    @property
    def waits(self) -> bool:
        """It is in the lobby."""
        return not (self.known or self.blocked or self.forgotten)


class Enrolment(msgspec.Struct, frozen=True, omit_defaults=True):
    """A time in which many new terminals are expected, see `gateway.lobby`."""

    until_us: int = 0
    room: int = 0
    """For so many more."""


class FleetData(msgspec.Struct, frozen=True):
    """The file. Terminals about which nothing was decided may be absent."""

    terminals: dict[str, FleetTerminal] = {}
    """By identity."""
    vehicles: list[Plate] = []
    """All vehicles, with a terminal or without; empty where that is not known."""
    version: int = 0
    """Of the decisions that this says."""
    enrolment: Enrolment = Enrolment()


class FleetNews(NamedTuple):
    """What a source says: everything, or what changed."""

    terminals: dict[str, FleetTerminal]
    """By identity, as they are now."""
    vehicles: dict[int, Plate]
    """By any number that stays the vehicle's."""
    horizon: str = ""
    """What to ask for the next time."""
    is_whole: bool = True
    """There is nothing else."""
    version: int = 0
    """Of the last decision by then (`store.decisions`)."""
    enrolment: Enrolment = Enrolment()


FleetSource: TypeAlias = Callable[[str | None], FleetNews]
"""Asks the database for what changed since the horizon of an earlier answer, or for everything. Runs in a
thread; may raise anything.
"""

WHOLE_S: Final = 3600.0
"""So often everything is read: a row that somebody deletes by hand is not told of."""

COPY_SHARE: Final = 0.02
"""Writing the file takes at most such a part of the time: a small fleet is in it at once, one of a hundred
thousand within some seconds.
"""

PAGE: Final = 1000
"""Terminals written to the file at a time; between two pages others have the interpreter."""

_UNDECIDED: Final = FleetTerminal()
_DRAFT: Final = "{}.{}.new"
"""Name of a file being written: that of the copy, and the process."""
_UNWRITTEN: Final = re.compile(r"[\s·•]")


@dataclass(frozen=True, slots=True)
class Conflict:
    """Why a registration is refused: the result in 0x8100."""

    result: int
    reason: str


class _Known:
    """The fleet at some moment. One thread writes, another reads."""

    def __init__(self) -> None:
        self.terminals: dict[str, FleetTerminal] = {}
        self.holders: dict[Plate, tuple[str, ...]] = {}
        """Terminals in the vehicle of a plate; one, unless plates differ only in how they are spelled."""
        self.vehicles: dict[Plate, int] = {}
        """How many vehicles are spelled so."""
        self._plates: dict[int, Plate] = {}
        self.in_lobby = 0

    def put(self, identity: str, terminal: FleetTerminal) -> None:
        """Take over what was decided about a terminal."""
        older = self.terminals.get(identity)
        self.terminals[identity] = terminal
        self.in_lobby += terminal.waits - (older is not None and older.waits)
        older = older or _UNDECIDED
        if (older.plate, older.plate_color) == (terminal.plate, terminal.plate_color):
            return
        if terminal.plate:
            plate = _spelled(terminal.plate, terminal.plate_color)
            self.holders[plate] = (*self.holders.get(plate, ()), identity)
        if older.plate:
            self._let_go(_spelled(older.plate, older.plate_color), identity)

    def put_vehicle(self, number: int, plate: Plate) -> None:
        """Take over how a vehicle is called."""
        plate, older = _spelled(*plate), self._plates.get(number)
        if plate == older:
            return
        self._plates[number] = plate
        self.vehicles[plate] = self.vehicles.get(plate, 0) + 1
        if older is not None:
            self.vehicles[older] -= 1
            if not self.vehicles[older]:
                del self.vehicles[older]

    def _let_go(self, plate: Plate, identity: str) -> None:
        """Take one mention of a terminal from a plate's holders."""
        left = list(self.holders[plate])
        left.remove(identity)
        if left:
            self.holders[plate] = tuple(left)
        else:
            del self.holders[plate]


class Fleet:
    """Answers questions about terminals, from memory."""

    def __init__(self, path: Path) -> None:
        """Read the copy that an earlier gateway left at `path`. A file that cannot be read counts as none."""
        self._path = path
        self.version = 0
        """Of the last decision that this copy knows of."""
        self.enrolment = Enrolment()
        self._known = _Known()
        self._judged_anew: list[str] = []
        self._horizon: str | None = None
        """What was taken over last; None where everything has to be read."""
        self._whole_due = self._write_due = 0.0
        self._is_written = True
        _remove_drafts_of_the_dead(path)
        try:
            self.replace(msgspec.json.decode(path.read_bytes(), type=FleetData))
        except FileNotFoundError:
            pass
        except (OSError, msgspec.DecodeError) as error:
            log.warning(
                "fleet copy cannot be read; waiting for the database", path=str(path), error=str(error)
            )

    def __len__(self) -> int:
        return len(self._known.terminals)

    def terminal(self, identity: str) -> FleetTerminal:
        """Give what was decided about a terminal."""
        return self._known.terminals.get(identity, _UNDECIDED)

    def knows(self, identity: str) -> bool:
        """Tell whether a terminal is in the copy, and not forgotten."""
        terminal = self._known.terminals.get(identity)
        return terminal is not None and (terminal.known or not terminal.forgotten)

    @property
    def in_lobby(self) -> int:
        """How many terminals wait to be accepted."""
        return self._known.in_lobby

    def conflict(self, identity: str, plate: Plate, *, only_known: bool) -> Conflict | None:
        """Say why this terminal cannot register for this vehicle, or None where it can. JT/T 808-2013 §8.6.

        A terminal without a plate conflicts with nothing: one whose registration could not be read, or whose
        plate has no colour, for then it is a VIN (JT/T 808-2013 §8.6 table 7).
        """
        terminal = self.terminal(identity)
        if terminal.blocked:
            return Conflict(4, "the terminal is blocked")
        if only_known and not terminal.known:
            return Conflict(4, "the terminal is unknown")
        plate = _spelled(*plate)
        if not all(plate):
            return None
        known = self._known
        holders = known.holders.get(plate)
        if holders and identity not in holders:
            return Conflict(1, f"the vehicle has terminal {holders[0]}")
        if terminal.plate and _spelled(terminal.plate, terminal.plate_color) != plate:
            return Conflict(3, f"the terminal is in vehicle {terminal.plate}")
        if only_known and known.vehicles and plate not in known.vehicles:
            return Conflict(2, "the vehicle is unknown")
        return None

    def replace(self, data: FleetData) -> None:
        """Take a whole copy instead of the one so far."""
        vehicles = dict(enumerate(data.vehicles))
        self._take(FleetNews(data.terminals, vehicles, version=data.version, enrolment=data.enrolment))

    def take_judged_anew(self) -> list[str]:
        """Return the terminals about which something else was decided since this was last asked: their
        sessions go by it.
        """
        identities, self._judged_anew = self._judged_anew, []
        return identities

    def refresh(self, source: FleetSource) -> None:
        """Ask `source` for what is new, take it over, and keep it in the file. Blocks: call it in a thread,
        and not in two at once.

        Raises:
            OSError: the file cannot be written; what is new was taken over.
            Exception: whatever the source raises.
        """
        now = time.monotonic()
        if now >= self._whole_due:
            self._horizon = None
        horizon, self._horizon = self._horizon, None  # until it is taken over
        news = source(horizon)
        self._is_written = not self._take(news) and self._is_written
        self._horizon = news.horizon
        if news.is_whole:
            self._whole_due = now + WHOLE_S
        began = time.monotonic()
        if not self._is_written and began >= self._write_due:
            self._write()
            self._is_written = True
            ended = time.monotonic()
            self._write_due = ended + (ended - began) / COPY_SHARE

    def _take(self, news: FleetNews) -> bool:
        """Take over, and tell whether the file has to say something else."""
        before = self._known
        terminals, vehicles = len(before.terminals), len(before.vehicles)
        known = _Known() if news.is_whole else before
        is_new = False
        for identity, terminal in news.terminals.items():
            older = before.terminals.get(identity)
            if older != terminal:
                is_new = True
                if (older or _UNDECIDED).standing != terminal.standing:
                    self._judged_anew.append(identity)
            known.put(identity, terminal)
        for number, plate in news.vehicles.items():
            is_new = is_new or _spelled(*plate) not in before.vehicles
            known.put_vehicle(number, plate)
        self._known = known
        if news.is_whole:
            self._judged_anew += [each for each in before.terminals if each not in known.terminals]
        is_new = is_new or news.version > self.version
        self.version = max(self.version, news.version)
        is_new = is_new or news.enrolment != self.enrolment
        self.enrolment = news.enrolment
        return is_new or (terminals, vehicles) != (len(known.terminals), len(known.vehicles))

    def _write(self) -> None:
        """Write the file in pages: the encoder keeps the interpreter for itself."""
        draft = self._path.with_name(_DRAFT.format(self._path.name, os.getpid()))  # others write theirs
        with draft.open("wb") as file:
            terminals = iter(self._known.terminals.items())
            _write_pages(file, b'{"terminals":{', iter(lambda: dict(islice(terminals, PAGE)), {}))
            vehicles = iter(self._known.vehicles)
            _write_pages(file, b'},"vehicles":[', iter(lambda: list(islice(vehicles, PAGE)), []))
            enrolment = msgspec.json.encode(self.enrolment)
            file.write(b'],"version":%d,"enrolment":%s}' % (self.version, enrolment))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)


def _write_pages(file: IO[bytes], head: bytes, pages: Iterable[object]) -> None:
    """Write the members of objects or arrays as those of one."""
    for page in pages:
        file.write(head + msgspec.json.encode(page)[1:-1])
        head = b","
    if head != b",":
        file.write(head)


def _remove_drafts_of_the_dead(path: Path) -> None:
    """Remove what gateways left that were killed while they wrote."""
    for draft in path.parent.glob(_DRAFT.format(path.name, "[0-9]*")):
        try:
            os.kill(int(draft.name.split(".")[-2]), 0)
        except (ProcessLookupError, OverflowError):
            draft.unlink(missing_ok=True)
        except (ValueError, PermissionError):  # no draft of ours, or of somebody who lives
            pass


def _spelled(plate: str, color: int) -> Plate:
    """Write a plate as everybody does: devices send 辽A·12345, 辽A 12345 and 辽a12345 for one vehicle."""
    return (plate if plate.isalnum() else _UNWRITTEN.sub("", plate)).upper(), color

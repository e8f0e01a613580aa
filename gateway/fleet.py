"""The local copy of what people decided about terminals: who is known, who is blocked, what is installed
where.

The truth is in the database. The copy is refreshed from there while the database answers and kept in a
file, so that a gateway that starts without it knows whom to let in.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
import structlog

log = structlog.get_logger()

Plate: TypeAlias = tuple[str, int]
"""Plate and its colour by JT/T 415-2006 §5.4.12."""


class FleetTerminal(msgspec.Struct, frozen=True, omit_defaults=True):
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


class FleetData(msgspec.Struct, frozen=True):
    """The copy as a value. Terminals about which nothing was decided may be absent."""

    terminals: dict[str, FleetTerminal] = {}
    """By identity."""
    vehicles: list[Plate] = []
    """All vehicles, with a terminal or without; empty where that is not known."""


FleetSource: TypeAlias = Callable[[], FleetData]
"""Asks the database. Runs in a thread; may raise anything."""

_UNDECIDED: Final = FleetTerminal()
_UNWRITTEN: Final = re.compile(r"[\s·•]")


@dataclass(frozen=True, slots=True)
class Conflict:
    """Why a registration is refused: the result in 0x8100."""

    result: int
    reason: str


class Fleet:
    """Answers questions about terminals, from memory."""

    def __init__(self, path: Path) -> None:
        """Read the copy that an earlier gateway left at `path`. A file that cannot be read counts as none."""
        self._path = path
        self._data = FleetData()
        self._holders: dict[Plate, str] = {}
        self._vehicles: set[Plate] = set()
        try:
            self.replace(msgspec.json.decode(path.read_bytes(), type=FleetData))
        except FileNotFoundError:
            pass
        except (OSError, msgspec.DecodeError) as error:
            log.warning(
                "fleet copy cannot be read; waiting for the database", path=str(path), error=str(error)
            )

    def __len__(self) -> int:
        return len(self._data.terminals)

    def terminal(self, identity: str) -> FleetTerminal:
        """Give what was decided about a terminal."""
        return self._data.terminals.get(identity, _UNDECIDED)

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
        holder = self._holders.get(plate)
        if holder not in (None, identity):
            return Conflict(1, f"the vehicle has terminal {holder}")
        if terminal.plate and _spelled(terminal.plate, terminal.plate_color) != plate:
            return Conflict(3, f"the terminal is in vehicle {terminal.plate}")
        if only_known and self._vehicles and plate not in self._vehicles:
            return Conflict(2, "the vehicle is unknown")
        return None

    def replace(self, data: FleetData) -> list[str]:
        """Take a newer copy and give the terminals that are blocked in it."""
        self._data = data
        self._holders = {
            _spelled(terminal.plate, terminal.plate_color): identity
            for identity, terminal in data.terminals.items()
            if terminal.plate
        }
        self._vehicles = {_spelled(plate, color) for plate, color in data.vehicles}
        return [identity for identity, terminal in data.terminals.items() if terminal.blocked]

    def fetch(self, source: FleetSource) -> FleetData | None:
        """Ask `source` and keep what is new in the file; None where nothing is. Blocks: call it in a
        thread.
        """
        data = source()
        if data == self._data:
            return None
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}.new")  # other gateways write theirs
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(data))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
        return data


def _spelled(plate: str, color: int) -> Plate:
    """Write a plate as everybody does: devices send 辽A·12345, 辽A 12345 and 辽a12345 for one vehicle."""
    return _UNWRITTEN.sub("", plate).upper(), color

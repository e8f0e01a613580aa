"""What people have decided, as of the place in the log to which the worker has come.

A record `Decided(version)` moves it on, so that it is a function of the log like all that the worker
remembers. What is decided about terminals stands in their own state.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from store.decisions import BLOCKED, CONFIGURED, FORGOTTEN, OF_SETTINGS, SETTING, Decision
from tickets.policy import TicketPolicy
from tickets.silence import SilencePolicy

Arrays = dict[str, npt.NDArray[Any]]

KINDS: Final = (BLOCKED, FORGOTTEN, *OF_SETTINGS)
"""What facts depend on; other decisions are the gateway's and people's."""
LASTING: Final = (BLOCKED, *OF_SETTINGS)
"""Of these, what holds until something else is decided; to forget is done once."""


@dataclass(frozen=True, slots=True)
class Policies:
    """What people may decide about the meaning of what is said, and how it is until they have."""

    silence: SilencePolicy = field(default_factory=SilencePolicy)
    tickets: TicketPolicy = field(default_factory=TicketPolicy)
    media_bytes_per_day: int = 1 << 30
    """What a terminal may have stored of its media in a day of UTC."""

    def having(self, settings: dict[str, Any]) -> "Policies":
        """Give these with what settings say, which are named as in the configuration."""
        silence, tickets = (
            {
                each.name: settings[f"silence.{each.name}"]
                for each in fields(of)
                if f"silence.{each.name}" in settings
            }
            for of in (SilencePolicy, TicketPolicy)
        )
        return replace(
            self,
            silence=replace(self.silence, **silence),
            tickets=replace(self.tickets, **tickets),
            media_bytes_per_day=settings.get("worker.media_bytes_per_day", self.media_bytes_per_day),
        )


@dataclass(slots=True)
class Decided:
    """The last version that holds, and what it says of settings."""

    version: int = 0
    settings: dict[str, dict[str, Any]] = field(default_factory=lambda: {kind: {} for kind in OF_SETTINGS})
    """By kind, what is decided of each."""

    def take(self, decisions: Iterable[Decision]) -> None:
        """Let these hold, of settings."""
        for kind, name, value in decisions:
            if kind not in self.settings:
                continue
            if value is None:
                self.settings[kind].pop(name, None)
            else:
                self.settings[kind][name] = value

    def over(self, policies: Policies) -> Policies:
        """Give the policies that hold, where `policies` do until somebody decides."""
        return policies.having(self.settings[CONFIGURED] | self.settings[SETTING])

    def to_arrays(self) -> Arrays:
        """Give everything as named arrays; `from_arrays` restores it."""
        text = json.dumps(self.settings).encode()
        return {"version": np.int64(self.version).reshape(1), "settings": np.frombuffer(text, np.uint8)}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> "Decided":
        """Restore what `to_arrays` gave."""
        return cls(int(arrays["version"][0]), json.loads(arrays["settings"].tobytes()))

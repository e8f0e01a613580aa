"""A chore: one piece of upkeep that is done again and again, a bounded step at a time.

To add one, write `keeper/chores/<name>.py` with a `CHORE = Chore(…)`; the folder loads itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import psycopg

from keeper.options import KeeperOptions

Connection: TypeAlias = psycopg.Connection[Any]


class Done(NamedTuple):
    """What one step did."""

    what: str = ""
    """A sentence for the messages and the page; empty when there was nothing to do."""
    more: bool = False
    """There is more to do: the next step follows after a breath, not after the interval."""
    zh: str = ""
    """The same sentence in Chinese."""
    tells: Mapping[str, Any] = MappingProxyType({})
    """What health says beside that, whatever was done."""


@dataclass(frozen=True, slots=True)
class Chore:
    """One piece of upkeep."""

    name: str
    """A short word, unique among chores: the label in metrics and in health."""
    every_s: float
    """How long after a step with nothing left to do the next one begins."""
    step: Callable[[Connection, KeeperOptions, datetime], Done]
    """Does a bounded piece of the work. The connection is in autocommit mode and the chore's own, `datetime`
    is now in UTC. Whatever it raises is reported, and the step is tried again later."""

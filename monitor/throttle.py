"""Slows down who guesses passwords, and nobody else.

An attempt is counted where it comes from:

    a device from which this name signed in before     by itself, and nowhere else
    anywhere else                                      by name and network, by network, by name

So strangers can use up what strangers have, all over the world, and never what a known device has; neither
can they fill the places in which its password waits to be checked.
"""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Literal, NamedTuple

from monitor.problems import Problem

THROTTLE_WINDOW_S = 300.0
TRIES_PER_DEVICE = 10
"""Whoever holds a known device is most likely its person."""
TRIES_PER_NAME_AND_ADDRESS = 5
TRIES_PER_ADDRESS = 25
"""A control room of people behind one router may mistype now and then."""
TRIES_PER_NAME = {"password": 50, "code": 10}
"""High, so that a stranger elsewhere cannot easily lock somebody out who comes with a new device. Who guesses
at codes has the password, and three in a million are right: in a day less than one in a hundred finds one."""
MAX_KEYS = 50_000
"""More than attempts within the window have: each costs a hash, of which there are some twenty a second."""
HASHES_AT_ONCE = 2
"""An argon2id hash takes 64 MiB and a tenth of a second of a core."""
HASHES_WAITING = 32
"""… of known devices, and as many of all others."""


class Attempt(NamedTuple):
    """Somebody says to be the user `name`."""

    name: str
    address: str
    device: str | None
    """By which name the device is known, None where it is not."""
    by: Literal["password", "code"] = "password"
    """A code comes after the right password, and is counted apart."""

    @property
    def limits(self) -> dict[tuple[str, str], int]:
        """How many attempts there may be within the window by what they have in common. The first is
        forgotten where one succeeds."""
        what = f"{self.by} of {self.name}"
        if self.device is not None:
            return {(what, f"device {self.device}"): TRIES_PER_DEVICE}
        network = network_of(self.address)
        return {
            (what, network): TRIES_PER_NAME_AND_ADDRESS,
            ("", network): TRIES_PER_ADDRESS,
            (what, ""): TRIES_PER_NAME[self.by],
        }


class Throttle:
    """An attempt counts from its start, so that many at once gain nothing."""

    def __init__(self) -> None:
        self._attempts: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()
        self._hashing = asyncio.Semaphore(HASHES_AT_ONCE)
        self._waiting: Counter[bool] = Counter()
        """By whether they come from known devices."""

    def begin(self, attempt: Attempt, now: float) -> float:
        """Count an attempt and give 0, or give the seconds to wait where there were too many.

        Raises:
            Problem: 429, no password can be checked now. That costs nothing, so it is not counted: else
                attempts that nobody makes could push out of memory those that were made.
        """
        if self._waiting[attempt.device is not None] >= HASHES_WAITING:
            raise too_many_attempts(1)
        limits = attempt.limits
        wait_s = max(self._wait_s(key, limit, now) for key, limit in limits.items())
        if wait_s <= 0:
            for key in limits:
                self._attempts.setdefault(key, deque()).append(now)
                self._attempts.move_to_end(key)
            while len(self._attempts) > MAX_KEYS:
                self._attempts.popitem(last=False)
        return max(0.0, wait_s)

    def succeeded(self, attempt: Attempt) -> None:
        """The attempt was no guess: forget those that have most in common with it, and of all others this
        one."""
        nearest, *others = attempt.limits
        self._attempts.pop(nearest, None)
        for key in others:
            if attempts := self._attempts.get(key):
                attempts.pop()

    @asynccontextmanager
    async def hashing(self, attempt: Attempt) -> AsyncIterator[None]:
        """Let few passwords be checked at once, and few wait for it."""
        is_known = attempt.device is not None
        if self._waiting[is_known] >= HASHES_WAITING:
            raise too_many_attempts(1)
        self._waiting[is_known] += 1
        try:
            async with self._hashing:
                yield
        finally:
            self._waiting[is_known] -= 1

    def _wait_s(self, key: tuple[str, str], limit: int, now: float) -> float:
        attempts = self._attempts.get(key)
        if not attempts:
            return 0.0
        while attempts and attempts[0] <= now - THROTTLE_WINDOW_S:
            attempts.popleft()
        return attempts[0] + THROTTLE_WINDOW_S - now if len(attempts) >= limit else 0.0


def too_many_attempts(wait_s: float) -> Problem:
    """Give the problem for somebody who tries too often."""
    seconds = max(1, round(wait_s))
    detail = f"Too many attempts to sign in; wait {seconds} s."
    return Problem(429, "too_many_attempts", detail, headers={"Retry-After": str(seconds)})


def network_of(address: str) -> str:
    """Give what one subscriber has: an address of IPv4, however it is written, or a /64 of IPv6."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address or "unknown"
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return str(ip_network((parsed, 64), strict=False))
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)

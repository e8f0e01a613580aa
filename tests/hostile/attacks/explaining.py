"""Bytes that take seconds to explain, forty times at once."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tests.hostile.attack import Target

AT_ONCE = 40
MAX_BYTES = 8192
HEAVY = ("5b" * MAX_BYTES, "7e" * MAX_BYTES, "7e0704" + "00" * (MAX_BYTES - 4) + "7e")


def attack(target: Target) -> str:
    """Ask for them all together, as one person."""

    def ask(number: int) -> int:
        given = {"hex": HEAVY[number % len(HEAVY)]}
        status, _, _ = target.service.request("POST", "/api/v1/explain", given)
        return status

    with ThreadPoolExecutor(AT_ONCE) as threads:
        told = Counter(threads.map(ask, range(AT_ONCE * (5 if target.is_long else 1))))
    assert set(told) <= {200, 422, 429}, told
    return f"{told.total()} questions of 8 KiB"

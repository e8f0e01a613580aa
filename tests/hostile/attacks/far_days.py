"""One terminal reports of every day of the year before, some in each message."""

from datetime import UTC, datetime, timedelta

from tests.hostile import wire
from tests.hostile.attack import Target

TERMINAL, PLATE = "13700009001", "辽H90001"
DAYS = 399
ITEMS = 20
"""Reports in one 0x0704."""


def attack(target: Target) -> str:
    """Send the whole of it at once, so that it comes into one transaction; in full size, day after day again
    at other seconds.
    """
    now, rounds = datetime.now(UTC), 10 if target.is_long else 1
    sent = 0
    with target.connect() as link:
        link.sign_in(TERMINAL, PLATE)
        for number in range(rounds):
            times = [now - timedelta(days=ago, minutes=number) for ago in range(DAYS)]
            frames = [
                wire.frame(TERMINAL, 0x0704, wire.stored(times[begin : begin + ITEMS]), begin)
                for begin in range(0, DAYS, ITEMS)
            ]
            link.send(b"".join(frames))
            link.answers(len(frames))
            sent += sum(map(len, frames))
    return f"{sent:,} bytes, {DAYS} days"

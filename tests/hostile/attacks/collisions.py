"""Different reports of one second whose stored hashes agree: 86 bytes, and 20,000 bodies of one second."""

from datetime import UTC, datetime
from itertools import islice

from tests import collisions
from tests.hostile import wire
from tests.hostile.attack import Target
from tests.hostile.service import until

TERMINAL = "13700086086"
AT_ONCE = 500
COLLIDED = (
    "SELECT count(*) FROM quarantine JOIN terminals ON terminals.id = terminal_id"
    " WHERE identity = %s AND reason = 'hash_collision'"
)
STORED = (
    "SELECT coalesce(sum(copies), 0) FROM positions JOIN terminals ON terminals.id = terminal_id"
    " WHERE identity = %s"
)


def attack(target: Target) -> str:
    """Send two pairs that collide, both twice and in both orders, and then many bodies of that second."""
    body = wire.location(at=datetime.now(UTC))
    pairs = list(islice(collisions.colliding(body), 2))
    (first, second), (third, fourth) = pairs
    many = 20_000 if target.is_long else 2_000
    bodies = [first, second, third, fourth, second, first, fourth, third]
    bodies += [collisions.with_latitude(body, 30_000_000 + number) for number in range(many)]
    sent = 0
    with target.connect() as link:
        link.sign_in(TERMINAL, "辽A86086")
        for begin in range(0, len(bodies), AT_ONCE):
            some = enumerate(bodies[begin : begin + AT_ONCE], begin)
            frames = [wire.frame(TERMINAL, 0x0200, each, serial) for serial, each in some]
            sent += sum(map(len, frames))
            link.send(b"".join(frames))
            assert len(link.answers(len(frames))) == len(frames), "a report was not answered"

    def are_all_there() -> bool:
        (collided,), (stored,) = (target.service.row(query, TERMINAL) for query in (COLLIDED, STORED))
        return collided >= 4 and collided + stored == len(bodies)

    until(are_all_there, "each report in positions or in quarantine")
    return f"{sent:,} bytes, {len(bodies):,} reports of one second"

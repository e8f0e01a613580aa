"""Bodies of lists in fragments: one id again and again, without a value, up to what is put together."""

from tests.hostile import wire
from tests.hostile.attack import Target
from tests.hostile.service import until

LISTS = {
    0x0104: (b"\0\1\0", b"\0\0\0\1\0"),
    0x0500: (b"\0\1" + bytes(28), b"\1\0"),
    0x0802: (b"\0\1\xff\xff", b"\1\0"),
    0x0704: (b"\xff\xff\1", b"\0\1\0"),
    0x1205: (b"\0\1\0\0\xff\xff", b"\0\1"),
    0x0705: (b"\xff\xff" + bytes(5), b"\0\1"),
}
PIECE = 1_000


def attack(target: Target) -> str:
    """Upload each, and wait until what comes behind them is a fact."""
    size = 3_900_000 if target.is_long else 100_000
    sent = 0
    for number, (msg_id, (head, entry)) in enumerate(LISTS.items()):
        body = (head + entry * (size // len(entry) + 1))[:size]
        pieces = [body[at : at + PIECE] for at in range(0, len(body), PIECE)]
        terminal = f"1370002{number:04}"
        with target.connect() as link:
            link.sign_in(terminal, f"辽Z{number:05}")
            frames = [
                wire.frame(terminal, msg_id, piece, serial + 10, fragment=(len(pieces), serial + 1))
                for serial, piece in enumerate(pieces)
            ]
            link.send(b"".join(frames))
            sent += size
            link.ask(terminal, 0x0200, wire.location())
        until(
            lambda terminal=terminal: _is_a_fact(target, terminal), f"{msg_id:#06x} does not hold up its own"
        )
    return f"{sent:,} bytes in {len(LISTS)} bodies"


def _is_a_fact(target: Target, terminal: str) -> bool:
    statement = (
        "SELECT count(*) FROM positions p JOIN terminals t ON t.id = p.terminal_id WHERE t.identity = %s"
    )
    return bool(target.service.row(statement, terminal)[0])

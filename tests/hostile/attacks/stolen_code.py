"""The code of a terminal that speaks, asked for by who knows its number; also with nothing readable."""

from tests.hostile import wire
from tests.hostile.attack import Target
from tests.hostile.watch import HONEST, PLATE

TRIES = 20


def attack(target: Target) -> str:
    """Ask over links of other addresses, with its plate, with another device's name, and with nothing."""
    bodies = [
        wire.registration(PLATE),
        wire.registration(PLATE, terminal_id=b"ANOTHER"),
        wire.registration(""),
        b"\0",
        b"",
    ]
    before, sent = target.watch.answered, 0
    for number in range(TRIES * (20 if target.is_long else 1)):
        with target.connect(source=f"127.0.8.{1 + number % 250}") as link:
            for body in bodies:
                result, code = link.ask(HONEST, 0x0100, body)
                assert result != 0 and len(code) <= 2, f"the code was given for {body!r}"
                sent += 1
            assert link.ask(HONEST, 0x0102, b"GUESSED")[0] == 1
    target.watch.come_to_rest()
    assert target.watch.answered > before, "its own link stays"
    return f"{sent} registrations"

"""Reports whose bodies cannot be decoded, without end, over links that are opened again."""

from tests.hostile import wire
from tests.hostile.attack import Target

LINKS = 4
MOST = 20_000
"""Reports on one link; far more than it may send."""
STEP = 100


def attack(target: Target) -> str:
    """Send them in steps, until the service closes the link."""
    sent = 0
    for number in range(LINKS * (10 if target.is_long else 1)):
        terminal, answered = f"1372000{number:04}", 0
        step = b"".join(wire.frame(terminal, 0x0200, b"short", serial) for serial in range(STEP))
        with target.connect() as link:
            try:
                while answered < MOST:
                    link.send(step)
                    found = link.answers(STEP)
                    assert all(result == 0 for _, _, result, _ in found), "a known id is answered with 0"
                    answered += len(found)
                    if len(found) < STEP:
                        break
            except OSError:
                pass
        assert answered < MOST, "a link that sends nothing else goes on for ever"
        sent += answered
    return f"{sent:,} frames of 20 bytes"

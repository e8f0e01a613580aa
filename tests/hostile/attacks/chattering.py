"""An honest vehicle with a chattering wire, among others."""

from tests.hostile import wire
from tests.hostile.attack import Target

TERMINALS = 5
REPORTS = 60


def attack(target: Target) -> str:
    """Report in order, each time answered, while the power comes and goes."""
    rounds = REPORTS * (10 if target.is_long else 1)
    for number in range(TERMINALS):
        terminal = f"1370000{8100 + number}"
        with target.connect() as link:
            link.sign_in(terminal, f"辽H{81000 + number}")
            for n in range(rounds):
                result, _ = link.ask(terminal, 0x0200, wire.location(alarm_bits=n % 2 << 8, lat=31 + n / 1e5))
                assert result == 0, f"report {n} of {terminal}: {result}"
    return f"{TERMINALS * rounds:,} reports"

"""What happens to whom and when: a list of scenes, told again in cycles with other actors.

A scene is decided before it happens and depends on the seed alone, so a test can know the whole story.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Act(StrEnum):
    """What can happen to a vehicle."""

    EMERGENCY = "emergency"
    """The driver presses the button (紧急报警); the terminal clears the bit when the report is answered."""
    POWER_LOSS = "power_loss"
    """Main power is lost (主电源掉电): one report says so, then nothing until it is back."""
    MUTE = "mute"
    """The terminal hangs: its link stays open and nothing comes."""
    GAP = "gap"
    """No network: reports are kept and come later as 0x0704 type 1."""
    SPEEDING = "speeding"
    ANTENNA = "antenna"
    """The GNSS antenna is cut: reports without a fix."""
    PARKING = "parking"
    """Ignition off, still reporting, less often."""
    SLEEP = "sleep"
    """Ignition off and asleep by item 0x2A."""
    DEREGISTER = "deregister"
    """0x0003, and a new registration when work begins again."""


@dataclass(frozen=True)
class Scene:
    """`act` happens to terminal number `actor` at `at_s` and lasts `lasts_s` (0: a moment)."""

    at_s: float
    actor: int
    act: Act
    lasts_s: float = 0.0


@dataclass(frozen=True)
class DemoTimes:
    """When the demo shows what, in seconds from the start of each cycle."""

    cycle_s: float = 150.0
    emergency_at_s: float = 20.0
    silence_at_s: float = 30.0
    silence_lasts_s: float = 70.0


def demo(terminals: int, seed: int, times: DemoTimes) -> Iterator[Scene]:
    """Tell the demo for ever, in order of time.

    Each cycle takes other actors, all different within a cycle while there are enough of them.
    """
    order = list(range(terminals))
    random.Random(f"actors {seed}").shuffle(order)
    cycle = 0
    while True:
        begin = cycle * times.cycle_s
        scenes = _cycle(times, silence=Act.MUTE if cycle % 2 else Act.POWER_LOSS)
        for number, (at_s, act, lasts_s) in enumerate(scenes):
            actor = order[(cycle * len(scenes) + number) % terminals]
            yield Scene(begin + at_s, actor, act, lasts_s)
        cycle += 1


def _cycle(times: DemoTimes, silence: Act) -> list[tuple[float, Act, float]]:
    share = times.cycle_s / 150
    scenes = [
        (8 * share, Act.PARKING, 90 * share),
        (12 * share, Act.SPEEDING, 35 * share),
        (times.emergency_at_s, Act.EMERGENCY, 0.0),
        (25 * share, Act.GAP, 18 * share),
        (times.silence_at_s, silence, times.silence_lasts_s),
        (40 * share, Act.SLEEP, 100 * share),
        (50 * share, Act.ANTENNA, 45 * share),
        (60 * share, Act.DEREGISTER, 60 * share),
        (80 * share, Act.SPEEDING, 25 * share),
    ]
    return sorted(scenes)

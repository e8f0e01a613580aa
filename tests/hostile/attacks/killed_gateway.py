"""The gateway is killed again and again, as soon as it is back."""

import time

from tests.hostile.attack import Target
from tests.hostile.service import until
from tests.hostile.watch import ANSWERED_WITHIN_S

KILLS = 7
"""After five, a process that dies waits for half a minute by the back-off of the others."""
BACK_WITHIN_S = 2.0


def attack(target: Target) -> str:
    """Kill it, wait until the honest terminal is answered, kill it."""
    away = []
    for _ in range(KILLS * (5 if target.is_long else 1)):
        answered = target.watch.answered
        until(lambda answered=answered: target.watch.answered > answered, "an answer")  # type: ignore[misc]
        killed, began = target.service.part("gateway"), time.monotonic()
        target.service.kill("gateway")

        def is_back(killed: object = killed) -> bool:
            another = target.service.part("gateway")
            return another not in (None, killed) and bool(target.service.health("gateway").get("ok"))

        until(is_back, "another gateway")
        away.append(time.monotonic() - began)
    assert "starts again in 1 s" not in target.service.said, "a gateway does not wait as the others do"
    if target.is_long:  # what a start takes beside other tests says nothing
        assert max(away) <= BACK_WITHIN_S, away
    answered = target.watch.answered
    until(lambda: target.watch.answered > answered + 1, "answers as before")
    target.watch.felt.answer_s = min(target.watch.felt.answer_s, ANSWERED_WITHIN_S)  # judged here
    return f"{len(away)} kills, back within {max(away):.1f} s"

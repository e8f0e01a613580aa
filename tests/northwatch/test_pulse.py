"""The delay of an event loop, told while it stands and for a while after."""

import json
import threading
import time
import urllib.error
import urllib.request
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from northwatch import pulse
from northwatch.endpoint import Endpoint
from northwatch.pulse import BEAT_S, REMEMBERED_S, STALLED_S, Pulse


class Clock:
    """A clock that somebody sets after all."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.floats(0, 20), max_size=60), st.floats(0, 20))
def test_the_longest_delay_of_late(delays: list[float], owed_s: float) -> None:
    clock = Clock()
    beats = Pulse(clock)
    beats.note()
    seen = []
    for delay_s in delays:
        clock.now += BEAT_S + delay_s
        beats.note()
        seen.append((clock.now, delay_s))
    clock.now += BEAT_S + owed_s
    late = [delay_s for at, delay_s in seen if at > clock.now - REMEMBERED_S]
    assert beats.delay_s == pytest.approx(max([owed_s, *late]), abs=1e-6)
    assert len(beats._worst) <= REMEMBERED_S / BEAT_S + 1, "as many as fit into that time"


def test_who_has_no_loop_is_late_for_nothing() -> None:
    assert Pulse().health({"ok": True, "x": 1}) == {"ok": True, "x": 1, "loop_delay_s": 0.0}


def test_not_well_is_not_well_whatever_the_loop_does() -> None:
    assert not Pulse().health({"ok": False})["ok"]


def test_a_stall_is_told_and_then_forgotten() -> None:
    clock = Clock()
    beats = Pulse(clock)
    beats.note()
    clock.now += BEAT_S + STALLED_S
    assert not beats.health({})["ok"], "while it lasts"
    beats.note()
    clock.now += REMEMBERED_S - 1
    beats.note()
    assert not beats.health({})["ok"], "lately"
    clock.now += REMEMBERED_S
    beats.note()
    clock.now += REMEMBERED_S
    beats.note()
    clock.now += REMEMBERED_S
    beats._due = clock.now
    assert beats._worst and beats.delay_s == 0


async def test_a_loop_that_stands_says_so_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "STALLED_S", 0.5)
    beats, registry, told = Pulse(), CollectorRegistry(), threading.Event()
    beats.measure(registry)
    with closing(Endpoint(0, lambda: beats.health({"ok": True}), registry)) as endpoint, beats.beating():

        def ask() -> None:
            while not told.is_set():
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{endpoint.port}/healthz").close()
                    time.sleep(0.01)
                except urllib.error.HTTPError as answer:
                    said = json.loads(answer.read())
                    assert answer.code == 503 and not said["ok"] and said["loop_delay_s"] >= 0.5
                    told.set()

        asking = threading.Thread(target=ask)
        asking.start()
        assert told.wait(300), "the loop stands until somebody was told"
        asking.join()
        assert (registry.get_sample_value("northwatch_loop_delay_seconds") or 0) >= 0.5

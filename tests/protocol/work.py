"""Work that can be counted: what does not depend on the machine or its load."""

import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType
from typing import Any


def steps_of(call: Callable[[], object]) -> int:
    """Count lines of Python, with each turn of a loop, and calls, those into C included."""
    steps = 0

    def traced(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal steps
        steps += 1
        return traced

    def profiled(frame: FrameType, event: str, arg: Any) -> None:
        nonlocal steps
        steps += event == "c_call"

    before = sys.gettrace(), sys.getprofile()
    sys.settrace(traced)
    sys.setprofile(profiled)
    try:
        call()
    finally:
        sys.settrace(before[0])
        sys.setprofile(before[1])
    return steps


def allocated_by(call: Callable[[], object]) -> int:
    """Count bytes of memory that are asked for, whether they are given back or not, by how much memory rises
    from each call to the next: what C code copies shows here alone."""
    total = current = 0

    def profiled(frame: FrameType, event: str, arg: Any) -> None:
        nonlocal total, current
        now, peak = tracemalloc.get_traced_memory()
        total += peak - current
        tracemalloc.reset_peak()
        current = now

    before = sys.getprofile()
    tracemalloc.start(1)
    current = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    sys.setprofile(profiled)
    try:
        call()
    finally:
        sys.setprofile(before)
        tracemalloc.stop()
    return total

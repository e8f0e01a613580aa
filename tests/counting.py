"""Work that is counted and not timed: lines that Python runs, wherever they are.

A loop in C is one line. What is put to the test runs in Python, and where it does not, its calls are counted.
"""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def counted(work: Callable[[], object]) -> int:
    """Run something, and say how many lines that was, in this thread."""
    lines = 0

    def count(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        work()
    finally:
        sys.settrace(before)
    return lines

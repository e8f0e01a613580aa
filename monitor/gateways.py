"""What several gateway processes say of themselves, put together as if they were one. Pure."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

Answer = dict[str, Any] | None
"""What a process says; None when it does not answer."""

_AT_WORST: Final[dict[str, Callable[[Iterable[Any]], Any]]] = {
    "ok": all,
    "reading": all,
    "is_full": any,
    "waiting": max,
    "most": max,
    "sync_ms": max,
    "loop_delay_s": max,
    "free_bytes": min,
    "free_floor_bytes": max,
    "holds_s": lambda values: min((each for each in values if each is not None), default=None),
}
"""What is not added up: all logs are on one disk, all share the lobby, and one that is unwell is enough."""


def together(answers: Sequence[Answer]) -> Answer:
    """Give one answer: figures are added up, and of texts the first that says something counts. `processes`
    and `missing` say how many there are, and how many do not answer. None where nobody answers.
    """
    heard = [answer for answer in answers if answer is not None]
    if not heard or len(answers) == 1:
        return heard[0] if heard else None
    return {**_one(heard), "processes": len(answers), "missing": len(answers) - len(heard)}


def _one(heard: Sequence[dict[str, Any]]) -> dict[str, Any]:
    names = dict.fromkeys(name for each in heard for name in each)
    return {name: _value(name, [each[name] for each in heard if name in each]) for name in names}


def _value(name: str, values: list[Any]) -> Any:
    if name in _AT_WORST:
        return _AT_WORST[name](values)
    if all(isinstance(value, dict) for value in values):
        return _one(values)
    if all(isinstance(value, int | float) for value in values):
        return sum(values)
    return next((value for value in values if value), values[0])

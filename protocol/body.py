"""Read and write one declared value from and to exactly its bytes.

Bodies, additional items and embedded reports all follow the same rule: what a declaration does not cover
stays visible. Bytes behind a declared structure are kept under the name `rest` and written back by `write`;
absent optional fields are absent from the dict.
"""

from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from io import BytesIO
from typing import Any, Final

from construct import (
    Adapter,
    Construct,
    ConstructError,
    Container,
    ExplicitError,
    GreedyBytes,
    ListContainer,
    Prefixed,
)

from protocol.adapters import as_bytes
from protocol.errors import BodyError, LocalProtocolError

REST: Final = "rest"
"""Bytes that no declaration covers, behind those that one does."""

MAX_FIELDS: Final = 1 << 17
"""Fields of one body, those of the reports, items and parameters inside included: as many as a search for
recordings finds of four cameras in two weeks. A field costs some ten microseconds and a hundred bytes, and a
body that is put together has room for two million; beyond the limit it is undecodable, and kept raw.
"""

WATCH: Final[ContextVar[Callable[[Construct, bytes], Construct] | None]] = ContextVar("WATCH", default=None)
"""Is told of every reading and may give a declaration that notes where fields stand: `protocol.trace`."""


def read(declaration: Construct, data: bytes, **known: Any) -> Any:
    """Read a value from all of `data`.

    `known` is what a declaration may ask for as `this._params`, e.g. the edition.

    Raises:
        BodyError: the bytes do not fit, or some remain behind a value that is no structure.
    """
    if _BUDGET.get() is not None:
        return _read(declaration, data, known)
    token = _BUDGET.set(_Budget())
    try:
        return _read(declaration, data, known)
    except TooManyFields as error:
        raise BodyError(f"more than {MAX_FIELDS} fields") from error
    finally:
        _BUDGET.reset(token)


def _read(declaration: Construct, data: bytes, known: dict[str, Any]) -> Any:
    """Read a value, alone or inside of another one: too many fields are a fault of the whole body."""
    stream, watch = FieldStream(data), WATCH.get()
    try:
        value = _plain((watch(declaration, data) if watch else declaration).parse_stream(stream, **known))
    except TooManyFields:
        raise
    except (ConstructError, ValueError, OverflowError) as error:
        _check_budget()  # construct says of our stream only that it failed
        raise BodyError(_sentence(error)) from error
    _check_budget()  # or takes that for the end of a list
    rest = data[stream.tell() :]
    if rest and not isinstance(value, dict):
        raise BodyError(f"{len(data) - len(rest)} bytes expected, {len(data)} there")
    return {**value, REST: rest} if rest else value


class TooManyFields(ExplicitError):  # type: ignore[misc]
    """A body has more than `MAX_FIELDS`; no construct takes it for the end of a list."""


class _Budget:
    """What the outermost reading may still take."""

    __slots__ = ("fields",)

    def __init__(self) -> None:
        self.fields = MAX_FIELDS


_BUDGET: Final[ContextVar[_Budget | None]] = ContextVar("_BUDGET", default=None)


def count_field() -> None:
    """Count one more field of the body that is being read.

    Raises:
        TooManyFields: it has too many.
    """
    budget = _BUDGET.get()
    if budget is not None:
        budget.fields -= 1
        _check_budget()


def _check_budget() -> None:
    budget = _BUDGET.get()
    if budget is not None and budget.fields < 0:
        raise TooManyFields


class FieldStream(BytesIO):
    """The bytes of a reading. Whatever is taken from them counts as a field."""

    def read(self, size: int | None = -1) -> bytes:
        count_field()
        return super().read(size)


def entry_key(key: str, seen: Counter[str]) -> str:
    """Name an entry of a list by its id: a second one of the same id is "0x64#2". `seen` are those before."""
    seen[key] += 1
    return key if seen[key] == 1 else f"{key}#{seen[key]}"


def write(declaration: Construct, value: Any, **known: Any) -> bytes:
    """Write what `read` reads; times as text and bytes as hex, the forms of JSON, are written as well.

    Raises:
        LocalProtocolError: the value lacks a field or has one that does not fit.
    """
    try:
        data: bytes = declaration.build(value, **known)
    except KeyError as error:
        place = ".".join((*_steps(error), str(error.args[0])))
        raise LocalProtocolError(f"field {place!r} is missing") from error
    except ConstructError as error:
        raise LocalProtocolError(_sentence(error)) from error
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        place = ".".join(_steps(error))
        raise LocalProtocolError(f"{place}: {error}" if place else _sentence(error)) from error
    return data + as_bytes(value.get(REST, b"")) if isinstance(value, dict) else data


def _plain(value: Any) -> Any:
    """Give construct's containers as dicts and lists, without what is absent and what is construct's own."""
    if isinstance(value, Container):
        return {
            name: _plain(field)
            for name, field in value.items()
            if field is not None and not str(name).startswith("_")
        }
    if isinstance(value, ListContainer | list):
        return [_plain(element) for element in value]
    return value


def _sentence(error: Exception) -> str:
    """Give construct's message in one line: "items.alarm: stream read less than specified amount, …"."""
    first, *others = [line.strip() for line in str(error).splitlines() if line.strip()] or [repr(error)]
    if not first.startswith("Error in path"):
        return " ".join((first, *others))
    path = dict.fromkeys(step for step in first.split(" -> ")[1:])  # construct names a field twice
    return f"{'.'.join(path)}: {' '.join(others)}"


def _steps(error: Exception) -> list[str]:
    """Give the names of the fields inside which an error was raised that construct does not name.

    Every construct keeps its own as `path`: "(building) -> items -> alarm".
    """
    path, traceback = "", error.__traceback__
    while traceback is not None:
        found = traceback.tb_frame.f_locals.get("path")
        path = found if isinstance(found, str) and found.startswith("(building)") else path
        traceback = traceback.tb_next
    return list(dict.fromkeys(path.split(" -> ")[1:]))


def known_in(context: Any) -> dict[str, Any]:
    """Give what `read` or `write` was told, from inside a declaration."""
    return {name: value for name, value in context._params.items() if not name.startswith("_")}


class Embedded(Adapter):  # type: ignore[misc]
    """A whole declared value inside another body, behind its length: `Embedded(Int16ub, REPORT)`.

    A value that does not fit costs itself only: it is read as {"raw": bytes, "error": str}, and a dict with
    `raw` is written as it is.
    """

    def __init__(self, length: Construct, declaration: Construct) -> None:
        super().__init__(Prefixed(length, GreedyBytes))
        self.declaration = declaration

    def _decode(self, obj: bytes, context: Any, path: Any) -> Any:
        try:
            return read(self.declaration, obj, **known_in(context))
        except BodyError as error:
            return {"raw": obj, "error": str(error)}

    def _encode(self, obj: Any, context: Any, path: Any) -> bytes:
        if isinstance(obj, dict) and "raw" in obj:
            return as_bytes(obj["raw"])
        return write(self.declaration, obj, **known_in(context))

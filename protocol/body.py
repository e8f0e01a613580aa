"""Read and write one declared value from and to exactly its bytes.

Bodies, additional items and embedded reports all follow the same rule: what a declaration does not cover
stays visible. Bytes behind a declared structure are kept under the name `rest` and written back by `write`;
absent optional fields are absent from the dict.
"""

from collections.abc import Callable
from contextvars import ContextVar
from io import BytesIO
from typing import Any, Final

from construct import Adapter, Construct, ConstructError, Container, GreedyBytes, ListContainer, Prefixed

from protocol.adapters import as_bytes
from protocol.errors import BodyError, LocalProtocolError

REST: Final = "rest"
"""Bytes that no declaration covers, behind those that one does."""

WATCH: Final[ContextVar[Callable[[Construct, bytes], Construct] | None]] = ContextVar("WATCH", default=None)
"""Is told of every reading and may give a declaration that notes where fields stand: `protocol.trace`."""


def read(declaration: Construct, data: bytes, **known: Any) -> Any:
    """Read a value from all of `data`.

    `known` is what a declaration may ask for as `this._params`, e.g. the edition.

    Raises:
        BodyError: the bytes do not fit, or some remain behind a value that is no structure.
    """
    stream = BytesIO(data)
    watch = WATCH.get()
    try:
        value = _plain((watch(declaration, data) if watch else declaration).parse_stream(stream, **known))
    except (ConstructError, ValueError, OverflowError) as error:
        raise BodyError(_sentence(error)) from error
    rest = stream.read()
    if rest and not isinstance(value, dict):
        raise BodyError(f"{len(data) - len(rest)} bytes expected, {len(data)} there")
    return {**value, REST: rest} if rest else value


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

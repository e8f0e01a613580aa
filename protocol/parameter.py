"""终端参数, the parameters of a terminal: their registry and their list in 0x8103 and 0x0104.

JT/T 808-2013 tables 11 and 12. The files of `protocol/parameters/` declare them, one line each. A list is id
DWORD, length BYTE, value; its dict is keyed "0x0001", "0x0013", … in the order of the wire. A parameter of
several fields stays bytes there, and `details` reads it; a dict of its fields is written as well. An unknown
parameter, one whose bytes do not fit its declaration, and a text that is nothing but NUL are their raw bytes
and cost nothing else. A second parameter of the same id (多值参数) is kept as "0x0040#2". Where the list
itself breaks, the remaining bytes are the message's `rest`.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from construct import Computed, Construct, Struct, stream_seek, stream_tell, stream_write

from protocol.adapters import HexBytes, Text
from protocol.body import count_field, entry_key, known_in, read, write
from protocol.edition import Edition
from protocol.errors import BodyError, LocalProtocolError

MAX_PARAMETER: Final = 255
"""A parameter's length is one byte."""

HEAD: Final = 5
"""Bytes of id and length."""


@dataclass(frozen=True, slots=True)
class ParameterType:
    """One kind of parameter."""

    id: int
    name: str
    chinese: str
    declaration: Construct
    unit: str = ""
    """Of the integer on the wire, e.g. "s"."""
    since: Edition = Edition.E2011
    until: Edition = Edition.E2019
    clause: str = ""

    @property
    def key(self) -> str:
        """The parameter's name in a decoded list, e.g. "0x0001"."""
        return parameter_key(self.id)


PARAMETERS: Final[dict[int, ParameterType]] = {}
"""Every declared parameter by id. Filled by the files of `protocol/parameters/`."""


def parameter(id: int, chinese: str, name: str, declaration: Construct, **facts: Any) -> ParameterType:
    """Declare a parameter.

    Raises:
        ValueError: another file has declared this id.
    """
    if id in PARAMETERS:
        raise ValueError(f"parameter {id:#06x} is declared twice: {PARAMETERS[id].name} and {name}")
    PARAMETERS[id] = ParameterType(id, name, chinese, declaration, **facts)
    return PARAMETERS[id]


def parameter_key(id: int) -> str:
    """Give a parameter's key in a decoded list: 1 → "0x0001"."""
    return f"0x{id:04X}"


class ParameterList(Construct):  # type: ignore[misc]
    """The list of parameters to the end of the body, as a dict."""

    def _parse(self, stream: Any, context: Any, path: str) -> dict[str, Any]:
        parameters: dict[str, Any] = {}
        seen = Counter[str]()
        start = stream_tell(stream, path)
        data, known = stream.read(), known_in(context)
        at = 0
        while at + HEAD <= len(data) and at + HEAD + data[at + 4] <= len(data):
            id = int.from_bytes(data[at : at + 4])
            value = data[at + HEAD : at + HEAD + data[at + 4]]
            count_field()
            parameters[entry_key(parameter_key(id), seen)] = _read_parameter(id, value, known)
            at += HEAD + len(value)
        stream_seek(stream, start + at, 0, path)
        return parameters

    def _build(self, obj: dict[str, Any], stream: Any, context: Any, path: str) -> Any:
        known = known_in(context)
        for key, value in obj.items():
            id = int(key.partition("#")[0], 16)
            data = _write_parameter(id, value, known)
            if len(data) > MAX_PARAMETER:
                raise LocalProtocolError(
                    f"parameter {key} has {len(data)} bytes, at most {MAX_PARAMETER} fit"
                )
            stream_write(stream, id.to_bytes(4) + bytes((len(data),)) + data, HEAD + len(data), path)
        return obj


def _read_parameter(id: int, value: bytes, known: dict[str, Any]) -> Any:
    declared = PARAMETERS.get(id)
    if declared is None or isinstance(declared.declaration, Struct):
        return value
    if isinstance(declared.declaration, Text) and value and not value.strip(b"\0"):
        return value
    try:
        return read(declared.declaration, value, **known)
    except BodyError:
        return value


def details(parameters: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """Give the fields of those parameters that have several."""
    found: dict[str, Any] = {}
    for key, value in parameters.items():
        declared = PARAMETERS.get(int(key.partition("#")[0], 16))
        if declared is None or not isinstance(declared.declaration, Struct):
            continue
        try:
            found[key] = read(declared.declaration, value, **known)
        except BodyError:
            continue  # its bytes are in the list
    return found


DETAILS: Final = Computed(
    lambda this: details(this.params, known_in(this)) or None if this._parsing else None
)
"""A field of a message beside its `params`."""


def _write_parameter(id: int, value: Any, known: dict[str, Any]) -> bytes:
    """Write a value by its declaration; raw bytes, or their hex where no declaration takes it, as they
    are.
    """
    if isinstance(value, bytes):
        return value
    declared = PARAMETERS.get(id)
    try:
        return write(declared.declaration if declared else HexBytes(), value, **known)
    except LocalProtocolError:
        if not isinstance(value, str):
            raise
    try:
        return bytes.fromhex(value)
    except ValueError:
        raise LocalProtocolError(
            f"parameter {parameter_key(id)}: {value!r} is neither declared nor hex"
        ) from None

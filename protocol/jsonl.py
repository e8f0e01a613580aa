"""Frames as JSON records: what `northwatch decode --jsonl -` answers. Pure; the command does the reading
and printing.

A request is `{"id": …, "hex": "7e…7e"}`, or a list of fragments under `hex`, whose whole body is in the
answer too. Optional hints say what bytes alone cannot: `version` ("2011", "2013", "2019") what the terminal
registered as, `protocol` ("808"), `profile` the name of the terminal's profile (`protocol.profiles`),
`cipher` how bodies are encrypted: {"algorithm", "padding", "mode", "iv"} of `protocol.ciphers.Cipher` and
"key" in hex.

The answer is `{"id": …, "ok": true, "protocol", "version", "msg_id", "terminal", "serial", "body": {…}}`; a
body that cannot be read is `{"raw": hex, "error": sentence}`; only bytes that are no frame give `{"id": …,
"ok": false, "error": sentence}`. `protocol` "809", or flags 5b, is for `protocol.jt809.jsonl`.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from operator import itemgetter
from typing import Any, Final, TypeAlias

from protocol.adapters import as_bytes
from protocol.body import write
from protocol.ciphers import ZERO_IV, Algorithm, Cipher, Mode, Padding, decipher, encipher, no_keys
from protocol.connection import Terminal
from protocol.edition import Edition, edition_of
from protocol.errors import (
    BadLength,
    BodyError,
    FrameError,
    LocalProtocolError,
    ProtocolError,
    RemoteProtocolError,
)
from protocol.frame import Frame, parse, unescape
from protocol.items import ITEMS
from protocol.jt809 import jsonl as jt809
from protocol.messages import Undecodable, decode_frame, encode_body
from protocol.profiles import profile_named
from protocol.reassembly import first_missing

PROTOCOLS: Final = ("808", "1078", "jsatl12")
"""What rides on 808 frames, as hints name it."""

CIPHERS: Final = range(1, 8)
"""Numbers that three bits of the header can give a cipher."""

Synonyms: TypeAlias = dict[str, Callable[[dict[str, Any]], Any]]

_PLACE_TYPE: Final[Synonyms] = {"jt808_position_type": itemgetter("area_type")}
SYNONYMS: Final[dict[str, Synonyms]] = {
    "0x11": _PLACE_TYPE,
    "0x12": _PLACE_TYPE,
    "0x13": {
        "driven_route_id": itemgetter("route_id"),
        "time": itemgetter("drive_time_s"),
        "driven_route": itemgetter("result"),
    },
    "0x2B": {"analogs": lambda item: [item["ad1"], item["ad0"]]},
    "0x64": {},
    "0x65": {},
    "0x66": {},
    "0x67": {},
}
"""Second names that conformance vectors use for fields of items, beside those of the declarations."""


def _with_synonyms(key: str, item: Any) -> Any:
    if key not in SYNONYMS or not isinstance(item, dict):
        return item
    id = int(key, 16)
    second = {name: read(item) for name, read in SYNONYMS[key].items()}
    return item | second | {"extra_id": id, "extra_length": len(write(ITEMS[id].declaration, item))}


def decode_record(record: dict[str, Any]) -> dict[str, Any]:
    """Answer one request. Never raises for what the request says."""
    if jt809.is_809(record):
        platforms: dict[str, Any] = to_json(jt809.decode_record(record))
        return platforms
    answer = {"id": record.get("id")}
    try:
        hints = _hints(record)
        frame = _frame(record, hints)
        known = Edition(record["version"]) if record.get("version") else None
    except (ProtocolError, ValueError, KeyError, TypeError) as error:
        return answer | {"ok": False, "error": _sentence(error)}
    edition = edition_of(frame, known)
    whole = {"reassembled_body_hex": frame.body.hex()} if isinstance(record["hex"], list) else {}
    return answer | {
        "ok": True,
        "protocol": "808",
        "version": edition.value,
        "msg_id": f"0x{frame.msg_id:04X}",
        "terminal": frame.identity,
        "serial": frame.serial,
        "body": body_record(frame, edition, **hints) | whole,
    }


def encode_record(record: dict[str, Any]) -> dict[str, Any]:
    """Write a frame from what `decode_record` answers: `{"id": …, "ok": true, "hex": "7e…7e"}`.

    Needed are `msg_id`, `terminal` and `body`; `version` is 2013 and `serial` 0 unless said. A long body
    gives a list of fragments. Never raises for what the record says.
    """
    if jt809.is_809(record):
        return jt809.encode_record(record)
    answer = {"id": record.get("id")}
    try:
        edition = _taken("version", Edition, record.get("version") or Edition.E2013)
        serial = _taken("serial", int, record.get("serial", 0))
        terminal = Terminal(str(record["terminal"]), edition, first_serial=serial)
        msg_id = _taken("msg_id", lambda id: int(id, 16), record["msg_id"])
        body, hints = _taken("body", dict, record["body"]), _hints(record)
        if "raw" in body:
            terminal.say(msg_id, _taken("raw", as_bytes, body["raw"]))
        else:
            terminal.say(msg_id, encode_body(msg_id, edition, body, profile=hints["profile"]))
        wires = [b"\x7e" + content + b"\x7e" for content in terminal.data_to_send().split(b"\x7e") if content]
        frames = [_encrypted(wire, record, hints) for wire in wires]
    except (ProtocolError, ValueError, KeyError, TypeError) as error:
        return answer | {"ok": False, "error": _sentence(error)}
    return answer | {"ok": True, "hex": frames if len(frames) > 1 else frames[0]}


def _taken(name: str, kind: Callable[[Any], Any], value: Any) -> Any:
    """Take a field of a record; what it cannot be names the field."""
    try:
        return kind(value)
    except (ValueError, TypeError) as error:
        raise LocalProtocolError(f"{name} cannot be {value!r}") from error


def _sentence(error: Exception) -> str:
    return f"field {error} is missing" if isinstance(error, KeyError) else str(error) or repr(error)


def _hints(record: dict[str, Any]) -> dict[str, Any]:
    """Give what a request says about the terminal, as `decode_frame` is told it."""
    profile, hint = profile_named(record.get("profile")), record.get("cipher")
    if not hint:
        return {"profile": profile, "keys": no_keys}
    cipher = Cipher(
        Algorithm(hint["algorithm"]),
        Padding(hint["padding"]),
        "hint",
        Mode(hint.get("mode", Mode.ECB)),
        hint.get("iv", ZERO_IV),
    )
    key = bytes.fromhex(hint["key"])
    return {"profile": replace(profile, ciphers=dict.fromkeys(CIPHERS, cipher)), "keys": lambda name: key}


def _encrypted(wire: bytes, record: dict[str, Any], hints: dict[str, Any]) -> str:
    """Give a frame as hex, encrypted if the request says how: its cipher's `number` is 1 unless said, its
    `nonce` zeros.
    """
    if not record.get("cipher"):
        return wire.hex()
    number, nonce = record["cipher"].get("number", 1), record["cipher"].get("nonce", "00" * 16)
    frame = _parse_wire(wire)
    frame = encipher(frame, number, hints["profile"].ciphers, hints["keys"], nonce=bytes.fromhex(nonce))
    return frame.encode().hex()


def body_record(frame: Frame, edition: Edition, **known: Any) -> dict[str, Any]:
    """Give the body of a frame as JSON values; `known` as for `decode_frame`."""
    fields = decode_frame(frame, edition, **known)
    if isinstance(fields, Undecodable):
        return {"raw": fields.raw.hex(), "error": fields.error}
    record: dict[str, Any] = to_json(fields)
    return record


def to_json(value: Any) -> Any:
    """Give a decoded value as JSON has it: bytes as hex, times as sent (GMT+8, 0x8004 UTC) without zone."""
    if isinstance(value, dict):
        fields = {name: to_json(field) for name, field in value.items()}
        if "extras" in fields:
            fields["extras"] = {key: _with_synonyms(key, item) for key, item in fields["extras"].items()}
        return fields
    if isinstance(value, list):
        return [to_json(element) for element in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(timespec="seconds")
    return value


def _frame(record: dict[str, Any], hints: dict[str, Any]) -> Frame:
    """Read the frame of a request, or put its fragments together."""
    if record.get("protocol", "808") not in PROTOCOLS:
        raise RemoteProtocolError(
            f"protocol {record['protocol']!r} is not one of {', '.join((*PROTOCOLS, jt809.PROTOCOL))}"
        )
    wires = record["hex"] if isinstance(record["hex"], list) else [record["hex"]]
    frames = [_parse_wire(_wire(wire)) for wire in wires]
    return frames[0] if len(frames) == 1 else reassemble([_deciphered(frame, hints) for frame in frames])


def _wire(text: Any) -> bytes:
    """Read the bytes of a frame."""
    try:
        return bytes.fromhex(text)
    except (ValueError, TypeError) as error:
        raise RemoteProtocolError("hex is not pairs of hexadecimal digits") from error


def _deciphered(frame: Frame, hints: dict[str, Any]) -> Frame:
    try:
        return decipher(frame, hints["profile"].ciphers, hints["keys"])
    except BodyError:
        return frame  # and the body that they make together is shown as encrypted


def _parse_wire(wire: bytes) -> Frame:
    content = wire[1:-1]
    if len(wire) < 2 or wire[:1] != b"\x7e" or wire[-1:] != b"\x7e" or b"\x7e" in content:
        raise FrameError("flags 0x7e at both ends and nowhere else make a frame")
    return parse(unescape(content))


def reassemble(frames: list[Frame]) -> Frame:
    """Put the fragments of one message together, in any order: one frame with the header of the first.

    Raises:
        BadLength: fragments are missing, or belong to different messages.
    """
    parts = {frame.fragment[1]: frame for frame in frames if frame.fragment}
    total = max((frame.fragment[0] for frame in frames if frame.fragment), default=0)
    missing = first_missing(parts, total)
    if missing or not parts or len({(frame.msg_id, frame.identity) for frame in frames}) > 1:
        raise BadLength(f"fragments {missing or ''} of {total} are missing")
    first = parts[1]
    body = b"".join(parts[index].body for index in range(1, total + 1))
    return Frame(first.msg_id, first.raw_id, first.serial, body, first.version, None, first.attributes)

"""Frames of JT/T 809 as records: the part of `protocol.jsonl` for {"protocol": "809"} and for flags 5b.

A request is `{"id": …, "hex": "5b…5d"}`. Hints say what bytes cannot: `version` "2011" or "2019" or, more
exactly, `dialect` "V1" to "V3"; `keys` [M1, IA1, IC1] of the cipher. The answer is `{"id", "ok": true,
"protocol": "809", "version", "dialect", "msg_id", "serial", "header": {…}, "body": {…}}`. For whoever looks
for a field by its name, `body` has also those of the header, and those of `sub_body`; where names meet, the
body's own win.
"""

from typing import Any, Final

from protocol.body import REST
from protocol.errors import ProtocolError
from protocol.jt809.adapters import UtcSeconds, as_id
from protocol.jt809.cipher import Keys, apply
from protocol.jt809.dialect import Dialect, dialect_named
from protocol.jt809.framing import CRC_SIZE, VERSION, Frame, content_of, parse, unescape
from protocol.jt809.message import decode_frame, encode_body
from protocol.message import LAYOUT, Undecodable

PROTOCOL: Final = "809"
OWN: Final = ("raw", "error", LAYOUT, REST)
"""What says how a sub-message was read, and is not a field of it."""


def is_809(record: dict[str, Any]) -> bool:
    """Tell whether a request or an answer is about a frame of JT/T 809."""
    hint, wire = record.get("protocol"), record.get("hex")
    return hint == PROTOCOL or (hint is None and isinstance(wire, str) and wire[:2].lower() == "5b")


def decode_record(record: dict[str, Any]) -> dict[str, Any]:
    """Answer one request, with Python's times and bytes. Never raises for what the request says."""
    answer = {"id": record.get("id")}
    try:
        named = record.get("dialect") or record.get("version")
        hint = dialect_named(named) if named else None
        keys = Keys(*map(int, record["keys"])) if record.get("keys") else None
        plain = unescape(content_of(bytes.fromhex(record["hex"])))
        frame = parse(plain, is_2019=None if hint is None else hint.is_2019)
    except (ProtocolError, ValueError, KeyError, TypeError) as error:
        return answer | {"ok": False, "error": str(error) or repr(error)}
    dialect = hint or (Dialect.V3 if frame.is_2019 else Dialect.V1)
    fields = decode_frame(frame, dialect, keys)
    header = header_record(frame, plain)
    return answer | {
        "ok": True,
        "protocol": PROTOCOL,
        "version": dialect.edition,
        "dialect": dialect.value,
        "msg_id": f"0x{frame.msg_id:04X}",
        "serial": frame.serial,
        "header": header,
        "body": body_record(header, fields),
    }


def header_record(frame: Frame, plain: bytes) -> dict[str, Any]:
    """Give the header of a frame, and its CRC, by the names of its declaration."""
    header: dict[str, Any] = {
        "length": frame.length,
        "serial": frame.serial,
        "gnss_center_id": frame.gnss_center_id,
        "protocol_version": ".".join(map(str, frame.protocol_version)),
        "encrypt_flag": frame.encrypt_flag,
        "encrypt_key": frame.encrypt_key,
        "crc": f"0x{plain[-CRC_SIZE:].hex().upper()}",
    }
    if frame.time is not None:
        header["time"] = UtcSeconds.parse(frame.time.to_bytes(8))
    return header


def body_record(header: dict[str, Any], fields: dict[str, Any] | Undecodable) -> dict[str, Any]:
    """Give the fields of header, body and sub-message together."""
    if isinstance(fields, Undecodable):
        return header | {"raw": fields.raw, "error": fields.error}
    sub: dict[str, Any] = fields.get("sub_body", {})
    return header | {name: field for name, field in sub.items() if name not in OWN} | fields


def encode_record(record: dict[str, Any]) -> dict[str, Any]:
    """Write a frame from what `decode_record` answers: `{"id": …, "ok": true, "hex": "5b…5d"}`.

    Needed are `msg_id` and `body`, and in `header` or `body` the `gnss_center_id`; with `keys` and the
    `encrypt_flag` 1 the body is encrypted. Never raises for what the record says.
    """
    answer = {"id": record.get("id")}
    try:
        wire = _encode(record)
    except (ProtocolError, ValueError, KeyError, TypeError, AttributeError) as error:
        return answer | {"ok": False, "error": str(error) or repr(error)}
    return answer | {"ok": True, "hex": wire.hex()}


def _encode(record: dict[str, Any]) -> bytes:
    dialect = dialect_named(record.get("dialect") or record.get("version") or Dialect.V1)
    fields = dict(record["body"])
    header = fields | dict(record.get("header") or {})
    id, flag, key = as_id(record["msg_id"]), header.get("encrypt_flag", 0), header.get("encrypt_key", 0)
    body = bytes.fromhex(fields["raw"]) if "raw" in fields else encode_body(id, dialect, fields)
    if flag and "raw" not in fields:
        if not record.get("keys"):
            raise ValueError("an encrypted body needs `keys`: [M1, IA1, IC1]")
        body = apply(body, key, Keys(*map(int, record["keys"])))
    version = header.get("protocol_version")
    time = header.get("time", 0)
    return Frame(
        id,
        record.get("serial", 0),
        header["gnss_center_id"],
        body,
        bytes(map(int, version.split("."))) if version else VERSION,
        flag,
        key,
        int.from_bytes(UtcSeconds.build(time)) if dialect.is_2019 else None,
    ).encode()

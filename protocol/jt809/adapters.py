"""Field types that JT/T 809 adds to of `protocol.adapters`: ids in hex, UTC seconds, codes, bodies of 808."""

from datetime import datetime, timedelta
from typing import Any, Final

from construct import Adapter, Bytes, GreedyBytes, Int16ub, Int32ub, Int64ub

from protocol.adapters import GMT8, as_bytes
from protocol.edition import Edition
from protocol.messages import Undecodable, decode_body, encode_body

PLATFORM_ID_SIZE: Final = 11
EPOCH: Final = datetime(1970, 1, 1, 8, tzinfo=GMT8)


class _HexId(Adapter):  # type: ignore[misc]
    """A message id as text, e.g. "0x1202"; a number is written too."""

    def _decode(self, obj: int, context: Any, path: Any) -> str:
        return f"0x{obj:04X}"

    def _encode(self, obj: str | int, context: Any, path: Any) -> int:
        return as_id(obj)


HexId: Final = _HexId(Int16ub)


def as_id(value: str | int) -> int:
    """Give a message id as a number, whether it is one or text like "0x1202"."""
    return int(value, 16) if isinstance(value, str) else value


class _Number(Adapter):  # type: ignore[misc]
    """Four bytes as a number. Their eight hex digits, as 0x9401 has a 督办ID, are written too."""

    def _decode(self, obj: int, context: Any, path: Any) -> int:
        return obj

    def _encode(self, obj: str | int, context: Any, path: Any) -> int:
        return int(obj, 16) if isinstance(obj, str) else obj


SupervisionNumber: Final = _Number(Int32ub)


class _UtcSeconds(Adapter):  # type: ignore[misc]
    """time_t: eight bytes, seconds since 1970 in UTC, as an aware `datetime` in GMT+8 like all times here.

    A number that no year below 10000 has stays a number; platforms that send milliseconds give such ones
    (`moment` reads them). Text is written too, as JSON has it: "2026-01-31T08:00:00" in GMT+8.
    """

    def _decode(self, obj: int, context: Any, path: Any) -> datetime | int:
        try:
            return EPOCH + timedelta(seconds=obj)
        except OverflowError:
            return obj

    def _encode(self, obj: datetime | str | int, context: Any, path: Any) -> int:
        if isinstance(obj, str):
            obj = datetime.fromisoformat(obj).replace(tzinfo=GMT8)
        return obj if isinstance(obj, int) else int((obj - EPOCH).total_seconds())


UtcSeconds: Final = _UtcSeconds(Int64ub)


def moment(value: datetime | int) -> datetime | None:
    """Give the time that a decoded time_t means, milliseconds included; None where it means none."""
    if isinstance(value, datetime):
        return value
    try:
        return EPOCH + timedelta(milliseconds=value)
    except OverflowError:
        return None


class _DayTime(Adapter):  # type: ignore[misc]
    """Seven bytes day, month, year (two), hour, minute, second, GMT+8; what is no time stays bytes."""

    def __init__(self) -> None:
        super().__init__(Bytes(7))

    def _decode(self, obj: bytes, context: Any, path: Any) -> datetime | bytes:
        day, month, high, low, hour, minute, second = obj
        try:
            return datetime(high << 8 | low, month, day, hour, minute, second, tzinfo=GMT8)
        except ValueError:
            return obj

    def _encode(self, obj: datetime | bytes | str, context: Any, path: Any) -> bytes:
        if isinstance(obj, str):
            obj = datetime.fromisoformat(obj).replace(tzinfo=GMT8) if "T" in obj else bytes.fromhex(obj)
        if isinstance(obj, bytes):
            return obj
        local = obj.astimezone(GMT8)
        year = local.year.to_bytes(2)
        return bytes((local.day, local.month, *year, local.hour, local.minute, local.second))


DayTime: Final = _DayTime()


def _printable(data: bytes) -> str | None:
    """Give bytes as text where they are padded, printable ASCII and not empty."""
    stripped = data.strip(b"\0")
    text = stripped.decode("latin-1")
    return text if text and text.isascii() and text.isprintable() else None


def _coded(text: str, width: int) -> bytes:
    """Write text, or hex where it has twice as many digits as there are bytes."""
    return bytes.fromhex(text) if len(text) == 2 * width else text.encode("ascii").ljust(width, b"\0")


class Code(Adapter):  # type: ignore[misc]
    """时效口令 and other codes that are bytes by the standard and text in practice: `Code(64)`.

    Printable ASCII is text, anything else its hex. Twice as many digits as bytes can only be hex.
    """

    def __init__(self, width: int) -> None:
        super().__init__(Bytes(width))
        self.width = width

    def _decode(self, obj: bytes, context: Any, path: Any) -> str:
        return _printable(obj) or obj.hex()

    def _encode(self, obj: str, context: Any, path: Any) -> bytes:
        return _coded(obj, self.width)


class _PlatformId(Adapter):  # type: ignore[misc]
    """平台唯一编码: 11 bytes, the code of the administrative division and the platform's number.

    Text; some platforms send one big number instead, whose leading bytes are 0 (read as a number), or other
    bytes (read as 22 hex digits). Eleven zeros are no platform, "".
    """

    def __init__(self) -> None:
        super().__init__(Bytes(PLATFORM_ID_SIZE))

    def _decode(self, obj: bytes, context: Any, path: Any) -> str | int:
        text = _printable(obj)
        if text is not None or not any(obj):
            return text or ""
        return obj.hex() if obj[0] else int.from_bytes(obj)

    def _encode(self, obj: str | int, context: Any, path: Any) -> bytes:
        return obj.to_bytes(PLATFORM_ID_SIZE) if isinstance(obj, int) else _coded(obj, PLATFORM_ID_SIZE)


PlatformId: Final = _PlatformId()


class Carried(Adapter):  # type: ignore[misc]
    """The body of a JT/T 808 message inside of a message here: `Carried(0x0200)`. No bytes are no value.

    Read by the newest edition that it fits. A body that fits none costs itself only: {"raw", "error"}.
    """

    def __init__(self, msg_id: int) -> None:
        super().__init__(GreedyBytes)
        self.msg_id = msg_id
        self.flagbuildnone = True

    def _decode(self, obj: bytes, context: Any, path: Any) -> dict[str, Any] | None:
        if not obj:
            return None
        fields = decode_body(self.msg_id, Edition.E2019, obj)
        return {"raw": fields.raw, "error": fields.error} if isinstance(fields, Undecodable) else fields

    def _encode(self, obj: dict[str, Any] | None, context: Any, path: Any) -> bytes:
        if obj is None:
            return b""
        if "raw" in obj:
            return as_bytes(obj["raw"])
        return encode_body(self.msg_id, Edition.E2019, obj)

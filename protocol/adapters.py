"""Field types that JT/T 808 adds to plain integers: times, scaled numbers, digits and text.

Every adapter carries two readings. `_decode` and `_encode` are construct's, one value at a time. `column`
reads the same field of many messages at once from the array that the wrapped construct would give: integers
for a number, `u8[n, width]` for bytes. A declaration is therefore enough to derive both decoders.

`column` receives what construct calls the subcon's values, e.g. `u2[n]` in native byte order for
`Scaled(Int16ub, 10)` and `u8[n, 6]` for `BcdTime`.
"""

import re
from datetime import datetime, timedelta, timezone
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from construct import Adapter, Bytes, GreedyBytes, If

GMT8: Final = timezone(timedelta(hours=8), "GMT+8")
"""All times on the wire are Beijing time, JT/T 808-2013 §8.18; 0x8004 alone is UTC."""

NO_TIME: Final = int(np.iinfo(np.int64).min)
"""The column value of six bytes that are no time."""

TEXT_ENCODING: Final = "gb18030"
"""STRING is GBK (JT/T 808-2013 §4.1); GB 18030 reads all of GBK and the letters it lacks."""


class Scaled(Adapter):  # type: ignore[misc]
    """An integer in tenths, hundredths … of its unit: `Scaled(Int16ub, 10)` reads 605 as 60.5."""

    def __init__(self, subcon: Any, per_unit: int) -> None:
        super().__init__(subcon)
        self.per_unit = per_unit

    def _decode(self, obj: int, context: Any, path: Any) -> float:
        return obj / self.per_unit

    def _encode(self, obj: float, context: Any, path: Any) -> int:
        return round(obj * self.per_unit)

    def column(self, values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Numbers in the unit itself."""
        return values / self.per_unit


def When(condition: Any, subcon: Any) -> Any:
    """A field that is there only under a condition. Where it is not, a dict to write need not name it."""
    field = If(condition, subcon)
    field.flagbuildnone = True
    return field


class BcdDigits(Adapter):  # type: ignore[misc]
    """Packed digits as text, e.g. `12 34` as "1234". Other nibbles are legal and stand as A to F."""

    def __init__(self, width: int) -> None:
        super().__init__(Bytes(width))
        self.width = width

    def _decode(self, obj: bytes, context: Any, path: Any) -> str:
        return obj.hex().upper()

    def _encode(self, obj: str, context: Any, path: Any) -> bytes:
        return bytes.fromhex(obj.zfill(2 * self.width))


class _BcdTime(Adapter):  # type: ignore[misc]
    """Six bytes YY MM DD hh mm ss, GMT+8, as an aware `datetime`; bytes that are no time stay bytes.

    Text is written too, as JSON has it: "2026-01-31T08:00:00" in GMT+8, or the hex of bytes that are no time.
    """

    def __init__(self) -> None:
        super().__init__(Bytes(6))

    def _decode(self, obj: bytes, context: Any, path: Any) -> datetime | bytes:
        digits = obj.hex()
        if not digits.isdecimal():
            return obj
        year, month, day, hour, minute, second = (int(digits[i : i + 2]) for i in range(0, 12, 2))
        try:
            return datetime(2000 + year, month, day, hour, minute, second, tzinfo=GMT8)
        except ValueError:
            return obj

    def _encode(self, obj: datetime | bytes | str, context: Any, path: Any) -> bytes:
        if isinstance(obj, str):
            obj = datetime.fromisoformat(obj).replace(tzinfo=GMT8) if "T" in obj else bytes.fromhex(obj)
        if isinstance(obj, bytes):
            return obj
        local = obj.astimezone(GMT8)
        if not 2000 <= local.year <= 2099:
            raise ValueError(f"{local} is outside of the years 2000 to 2099 that two digits mean")
        return bytes.fromhex(local.strftime("%y%m%d%H%M%S"))

    def column(self, values: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        """Microseconds of UTC since 1970, `NO_TIME` where the six bytes are no time."""
        high, low = values >> 4, values & 15
        year, month, day, hour, minute, second = (high * 10 + low).astype(np.int64).T
        months = (year + 30) * 12 + month - 1
        first = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
        following = (months + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
        valid = ((high < 10) & (low < 10)).all(axis=1) & (month >= 1) & (month <= 12) & (day >= 1)
        valid &= (day <= following - first) & (hour < 24) & (minute < 60) & (second < 60)
        seconds = (((first + day - 1) * 24 + hour - 8) * 60 + minute) * 60 + second
        return np.where(valid, seconds * 1_000_000, NO_TIME)


BcdTime: Final = _BcdTime()


class Text(Adapter):  # type: ignore[misc]
    """Text in GBK: the rest of the body, or `Text(n)` padded to n bytes with NUL.

    Padding is cut at both ends, because makers pad on either side (the 2019 edition asks for the left,
    nearly all devices pad right); padding by '0' is not, because it cannot be told from content. Devices
    that send UTF-8 are read by rule, see `decode_text`.
    """

    def __init__(self, width: int | None = None) -> None:
        super().__init__(GreedyBytes if width is None else Bytes(width))
        self.width = width

    def _decode(self, obj: bytes, context: Any, path: Any) -> str:
        return decode_text(obj.strip(b"\0"))

    def _encode(self, obj: str, context: Any, path: Any) -> bytes:
        data = encode_text(obj)
        return data if self.width is None else data.ljust(self.width, b"\0")


def decode_text(data: bytes) -> str:
    """Read GBK, or UTF-8 where the bytes are UTF-8 in which every non-ASCII letter is Chinese.

    Text in GBK almost never happens to be that, so the rule tells the two apart. NUL inside of a text, and
    bytes that are neither, become visible as backslash escapes ("\\x00", "\\xff"), so that any text can be
    stored.
    """
    text = _chinese_utf8(data)
    if text is None:
        try:
            text = data.decode(TEXT_ENCODING)
        except UnicodeDecodeError:
            text = data.decode("gbk", "backslashreplace")  # unlike GB 18030, it never takes ASCII for a fault
    return text.replace("\0", "\\x00")


def _chinese_utf8(data: bytes) -> str | None:
    try:
        text = data.decode("utf-8")
        text.encode("gbk")
    except UnicodeError:
        return None
    return text if all(letter < "\x80" or "\u2e80" <= letter <= "\uffef" for letter in text) else None


def encode_text(text: str) -> bytes:
    """Write text in GBK; the escapes of `decode_text` become the bytes that they stand for."""
    parts = _ESCAPED_BYTE.split(text)
    return b"".join(
        bytes.fromhex(part) if number % 2 else part.encode(TEXT_ENCODING) for number, part in enumerate(parts)
    )


_ESCAPED_BYTE: Final = re.compile(r"\\x(00|[89a-f][0-9a-f])")


def as_bytes(value: bytes | str) -> bytes:
    """Give raw bytes as they are, or from the hex by which JSON has them."""
    return bytes.fromhex(value) if isinstance(value, str) else value


class _Hex(Adapter):  # type: ignore[misc]
    """Bytes that mean something to somebody else, as lower-case hex text."""

    def _decode(self, obj: bytes, context: Any, path: Any) -> str:
        return bytes(obj).hex()

    def _encode(self, obj: bytes | str, context: Any, path: Any) -> bytes:
        return as_bytes(obj)


def HexBytes(width: int) -> _Hex:
    """Exactly `width` bytes as hex."""
    return _Hex(Bytes(width))

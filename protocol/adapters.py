"""Field types that JT/T 808 adds to plain integers: times, scaled numbers, digits and text.

Adapters of the hot messages carry two readings. `_decode` and `_encode` are construct's, one value at a time.
`column` reads the same field of many messages at once from the array that the wrapped construct would give:
integers for a number, `u8[n, width]` for bytes. A declaration is therefore enough to derive both decoders.

`column` receives what construct calls the subcon's values, e.g. `u2[n]` in native byte order for
`Scaled(Int16ub, 10)` and `u8[n, 6]` for `BcdTime`.
"""

import re
from collections.abc import Collection
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from construct import (
    Adapter,
    Array,
    Bytes,
    Computed,
    Default,
    GreedyBytes,
    If,
    IfThenElse,
    Rebuild,
    Subconstruct,
    Terminated,
    ValidationError,
    len_,
    stream_seek,
    stream_tell,
    this,
)

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


def When(condition: Any, subcon: Any, otherwise: Any = None) -> Any:
    """A field that is there only under a condition. Where it is not, it reads as `otherwise`, and a dict to
    write need not name it."""
    field = If(condition, subcon) if otherwise is None else IfThenElse(condition, subcon, Computed(otherwise))
    field.flagbuildnone = True
    return field


class Trailing(Subconstruct):  # type: ignore[misc]
    """A field that is there unless the body ends before it; absent from a dict, it is not written.

    `rebuilt` gives the value from the other fields, e.g. the count of a list that may be absent.
    """

    def __init__(self, subcon: Any, rebuilt: Any = None) -> None:
        super().__init__(subcon)
        self.flagbuildnone = True
        self.rebuilt = rebuilt

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        here = stream_tell(stream, path)
        if not stream.read(1):
            return None
        stream_seek(stream, here, 0, path)
        return self.subcon._parsereport(stream, context, path)

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        if self.rebuilt is not None:
            obj = self.rebuilt(context)
        return None if obj is None else self.subcon._build(obj, stream, context, path)


class Among(Adapter):  # type: ignore[misc]
    """A number that has only some values; with any other the bytes are of another layout."""

    def __init__(self, subcon: Any, values: Collection[int]) -> None:
        super().__init__(subcon)
        self.values = values

    def _decode(self, obj: int, context: Any, path: Any) -> int:
        if obj not in self.values:
            raise ValidationError(f"{obj} is none of its values", path=path)
        return obj

    def _encode(self, obj: int, context: Any, path: Any) -> int:
        return self._decode(obj, context, path)


def count_of(name: str, or_given: str = "") -> Any:
    """Give what `Trailing` writes as the count of a list that may be absent; `or_given` names a count that
    wins."""

    def count(context: Any) -> int | None:
        given: int | None = context.get(or_given)
        found = context.get(name)
        return given if given is not None or found is None else len(found)

    return count


def numbered(
    name: str, item: Any, count: tuple[str, Any], chinese: str, *, by_packet: Any = None
) -> tuple[Any, ...]:
    """Fields of a list behind its count: `numbered("items", AREA, ("count", Int8ub), "区域")`.

    In 2011 the body itself divides a long list into packets: `by_packet` is the integer of a second count, of
    the entries in this one.
    """
    total, integer = count
    entries = len_(this[name])
    counts: tuple[Any, ...]
    if by_packet is None:
        here, counts = total, (total / Rebuild(integer, entries) * f"{chinese}总数 entries",)
    else:
        here = "package_item_count"
        counts = (
            total / Default(integer, entries) * f"{chinese}总数 entries of all packets",
            here / Rebuild(by_packet, entries) * f"包{chinese}数 entries in this packet, 2011 only",
        )
    return (*counts, name / Array(this[here], item) * f"{chinese}列表 entries")


END: Final = "end" / Terminated * "消息体结束 nothing behind: other bytes are of another layout"
"""The end of a layout that is told from others by its length."""


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

    def __init__(self, zone: timezone = GMT8) -> None:
        super().__init__(Bytes(6))
        self.zone = zone

    def _decode(self, obj: bytes, context: Any, path: Any) -> datetime | bytes:
        digits = obj.hex()
        if not digits.isdecimal():
            return obj
        year, month, day, hour, minute, second = (int(digits[i : i + 2]) for i in range(0, 12, 2))
        try:
            return datetime(2000 + year, month, day, hour, minute, second, tzinfo=self.zone)
        except ValueError:
            return obj

    def _encode(self, obj: datetime | bytes | str, context: Any, path: Any) -> bytes:
        if isinstance(obj, str):
            obj = datetime.fromisoformat(obj).replace(tzinfo=self.zone) if "T" in obj else bytes.fromhex(obj)
        if isinstance(obj, bytes):
            return obj
        local = obj.astimezone(self.zone)
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
UtcTime: Final = _BcdTime(UTC)
"""The same six bytes in UTC, which 0x8004 alone has."""


class _BcdDate(Adapter):  # type: ignore[misc]
    """Four bytes YYYY MM DD as the aware `datetime` of midnight, GMT+8; bytes that are no date stay bytes.

    A midnight, so that there is one form of times in JSON: "2026-01-31T00:00:00". "2026-01-31" is written
    too.
    """

    def __init__(self) -> None:
        super().__init__(Bytes(4))

    def _decode(self, obj: bytes, context: Any, path: Any) -> datetime | str | bytes:
        try:
            return datetime.strptime(obj.hex(), "%Y%m%d").replace(tzinfo=GMT8)
        except ValueError:
            return obj

    def _encode(self, obj: datetime | bytes | str, context: Any, path: Any) -> bytes:
        if isinstance(obj, str):
            obj = datetime.fromisoformat(obj).replace(tzinfo=GMT8) if "-" in obj else bytes.fromhex(obj)
        if isinstance(obj, bytes):
            return obj
        local = obj.astimezone(GMT8)
        return bytes.fromhex(f"{local.year:04}{local:%m%d}")


BcdDate: Final = _BcdDate()


class _BcdDay(_BcdDate):
    """The same four bytes as the day that is printed, "2026-01-31", where they name no moment that counts."""

    def _decode(self, obj: bytes, context: Any, path: Any) -> str | bytes:
        moment = super()._decode(obj, context, path)
        return moment.strftime("%Y-%m-%d") if isinstance(moment, datetime) and moment.year > 999 else obj


BcdDay: Final = _BcdDay()


class _DayTime(Adapter):  # type: ignore[misc]
    """Five bytes hh mm ss msms, a time of day of 0x0705, as "09:23:46.0725".

    Some devices put hh mm ss at the right end. There are at most 999 milliseconds, so such bytes cannot be
    the standard's form; they are read by rule, as "23:59:59" without a fraction. Others are kept as hex.
    """

    def __init__(self) -> None:
        super().__init__(Bytes(5))

    def _decode(self, obj: bytes, context: Any, path: Any) -> str:
        digits = obj.hex()
        if _is_day_time(digits[:6]) and digits[6:].isdecimal() and int(digits[6:]) <= MAX_MILLISECONDS:
            return f"{_with_colons(digits[:6])}.{digits[6:]}"
        if digits.startswith("0000") and _is_day_time(digits[4:]):
            return _with_colons(digits[4:])
        return digits

    def _encode(self, obj: str, context: Any, path: Any) -> bytes:
        time, dot, fraction = obj.partition(".")
        return bytes.fromhex((time.replace(":", "") + fraction.ljust(4 if dot else 0, "0")).zfill(10))


MAX_MILLISECONDS: Final = 999
DayTime: Final = _DayTime()


def _is_day_time(digits: str) -> bool:
    return digits.isdecimal() and digits[:2] < "24" and digits[2:4] < "60" and digits[4:] < "60"


def _with_colons(digits: str) -> str:
    return f"{digits[:2]}:{digits[2:4]}:{digits[4:]}"


class Text(Adapter):  # type: ignore[misc]
    """Text in GBK: the rest of the body, `Text(n)` padded to n bytes with NUL, or `Text(this.n)` of a counted
    length.

    Padding is cut at both ends, because makers pad on either side (the 2019 edition asks for the left,
    nearly all devices pad right); padding by '0' is not, because it cannot be told from content. Devices
    that send UTF-8 are read by rule, see `decode_text`.
    """

    def __init__(self, width: Any = None) -> None:
        super().__init__(GreedyBytes if width is None else Bytes(width))
        self.width = width if isinstance(width, int) else None
        """The bytes that it always has; None is any number."""

    def _decode(self, obj: bytes, context: Any, path: Any) -> str:
        return decode_text(obj.strip(b"\0"))

    def _encode(self, obj: str, context: Any, path: Any) -> bytes:
        data = encode_text(obj)
        return data if self.width is None else data.ljust(self.width, b"\0")


def counted(name: str, integer: Any, chinese: str, english: str) -> tuple[Any, Any]:
    """Two fields: the length of a text in bytes, called `name`_length, and the text: `*counted("name",
    …)`.
    """
    length = f"{name}_length"
    return (
        length
        / Rebuild(integer, lambda context: len(encode_text(context[name])))
        * f"{chinese}长度 its bytes",
        name / Text(lambda context: context[length]) * f"{chinese} {english}",
    )


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


def HexBytes(width: Any = None) -> _Hex:
    """Exactly `width` bytes as hex, or the rest of the body."""
    return _Hex(GreedyBytes if width is None else Bytes(width))

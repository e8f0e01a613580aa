"""What declarations say about their fields, for people: 中文, English, units, the bits of words, clauses.

Nothing is described here a second time. The texts are the docs of the declarations ("中文 english"), whose
English often lists what the values mean ("0 done, 1 failed", "bits 0 urgent, 2 display"); units stand at the
end of names; the bits of the alarm and status words are the tables of `protocol.words`.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

from protocol.edition import Edition
from protocol.words import ALARMS, STATUSES

UNITS: Final = {
    "_kmh": "km/h",
    "_km": "km",
    "_deg": "°",
    "_ms": "ms",
    "_m": "m",
    "_s": "s",
    "_c": "°C",
    "_percent": "%",
    "latitude": "°",
    "longitude": "°",
    "latitude_raw": "1e-6 °",
    "longitude_raw": "1e-6 °",
}
"""By how the name of a field ends."""

ALARM_WORD, STATUS_WORD = "alarm word", "status word"
"""How the docs of a field say that it is one."""

ALARM_MASKS: Final = range(0x0050, 0x0055)
"""Parameters whose bits are those of the alarm word."""

_CHINESE: Final = re.compile(r"[\u4e00-\u9fff]")
_OUR_MODULES: Final = re.compile(r",? ?(?:see |that is declared in )?protocol\.[\w.]+")
_ENTRY: Final = re.compile(
    r"(?:^|[,;:] ?|bits? |for )(0x[0-9A-Fa-f]+|0|[1-9]\d*) (?!to\b|and\b|bytes\b)([^,;:]+)"
)
_YEAR: Final = re.compile(r"^(2011|2013|2019) (.+)$")


def chinese_and_english(docs: str, name: str) -> tuple[str, str]:
    """Take the docs of a field apart; what they lack is taken from its name."""
    docs = _OUR_MODULES.sub("", docs or "").strip()
    spoken = name.replace("_", " ")
    head, _, tail = docs.partition(" ")
    if _CHINESE.search(head):
        return head, tail.strip() or spoken
    return docs or spoken, docs or spoken


def unit_of(name: str) -> str:
    """Give the unit that the name of a field ends with, or ""."""
    return next((unit for end, unit in reversed(UNITS.items()) if name.endswith(end)), "")


def quantity(value: Any, unit: str) -> str:
    """Give a number with a scaled unit in the plain one: 1234 in "0.1 km" is "123.4 km"; "" for others."""
    factor, _, plain = unit.partition(" ")
    if not plain or isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    try:
        return f"{value * float(factor):.10g} {plain}"
    except ValueError:
        return ""


@dataclass(frozen=True, slots=True)
class Bit:
    """One bit, or one field of adjacent bits, of a word."""

    bit: int
    value: int
    name: str
    chinese: str
    width: int = 1
    is_reserved: bool = False
    """The edition gives it no meaning."""


def bits_of(value: Any, english: str, edition: Edition) -> list[Bit]:
    """Spell out a word: the set bits of an alarm word or of a mask, every known one of a status word."""
    if not isinstance(value, int):
        return []
    if ALARM_WORD in english:
        return alarm_bits(value, edition)
    if STATUS_WORD in english:
        return status_bits(value, edition)
    if re.search(r"\bbits?\b", english):
        named = _entries(english)
        return [Bit(bit, 1, name, name) for bit, name in named.items() if value >> bit & 1]
    return []


def alarm_bits(word: int, edition: Edition) -> list[Bit]:
    """The alarms of a word; bits 32 to 63, where it has them, are the video alarms of JT/T 1078."""
    found = [
        Bit(row.bit, 1, row.name, row.chinese) for row in ALARMS[edition].values() if word >> row.bit & 1
    ]
    known = {bit.bit for bit in found}
    others = [bit for bit in range(word.bit_length()) if word >> bit & 1 and bit not in known]
    return found + [_reserved(bit) if bit < 32 else _video(bit) for bit in others]


def status_bits(word: int, edition: Edition) -> list[Bit]:
    """The states of a word, whether they are set or not."""
    rows = STATUSES[edition].values()
    found = [Bit(row.bit, row.value(word), row.name, row.chinese, row.width) for row in rows]
    known = sum((1 << row.width) - 1 << row.bit for row in rows)
    others = [bit for bit in range(word.bit_length()) if word >> bit & 1 and not known >> bit & 1]
    return found + [_reserved(bit) for bit in others]


def _reserved(bit: int) -> Bit:
    return Bit(bit, 1, "reserved", "保留", is_reserved=True)


def _video(bit: int) -> Bit:
    return Bit(bit, 1, f"video alarm {bit - 32}", f"视频报警{bit - 32}")


def option_of(value: Any, english: str) -> str:
    """Give what the docs say about exactly this value: 1 of "0 done, 1 failed" is "failed"."""
    if isinstance(value, bool) or not isinstance(value, int) or re.search(r"\bbits?\b", english):
        return ""
    entries = _entries(english)
    return entries.get(value, "") if len(entries) > 1 else ""


def _entries(english: str) -> dict[int, str]:
    return {int(number, 0): meaning.strip() for number, meaning in _ENTRY.findall(english)}


def clause_of(clause: str, edition: str, standard: str = "JT/T 808") -> str:
    """Give a declaration's clause for one edition: "2013 §8.35, 2019 §8.32" is "JT/T 808-2019 §8.32".

    A clause without a year is of 2013; one of another standard names it.
    """
    if not clause or clause[0] not in "0123456789":
        return clause
    if clause.startswith("1078"):
        return f"JT/T {clause}"
    if clause in tuple(Edition):
        return f"{standard}-{clause}"
    years = {found[1]: found[2] for part in clause.split(", ") if (found := _YEAR.match(part.strip()))}
    if not years:
        return f"{standard}-2013 §{clause}"
    if edition in years:
        return f"{standard}-{edition} {years[edition]}"
    return f"{standard}-" + ", ".join(f"{year} {place}" for year, place in years.items())

"""`northwatch decode --explain`: every byte of a frame in a terminal, in colour, or as JSON."""

import json
import sys
from typing import Final

from rich.table import Table
from rich.text import Text

from northwatch.screen import Screen, echo, echo_json
from protocol.errors import LocalProtocolError
from protocol.explain import Explanation, Whole, edition_named, explain, pieces_of, record
from protocol.jsonl import to_json
from protocol.meaning import quantity
from protocol.parts import Finding, Kind, Part, Severity, Unit
from protocol.profiles import profile_named
from store.text import visible

SECTION_STYLES: Final = {
    "flag": "dim",
    "header": "cyan",
    "body": "",
    "check": "magenta",
    "garbage": "red",
}
FINDING_STYLES: Final = {Severity.ERROR: "bold red", Severity.NOTICE: "yellow"}
SIGNS: Final = {Severity.ERROR: "✗", Severity.NOTICE: "!"}
MOST_BYTES: Final = 24
"""Bytes of a part that are shown; the middle of longer ones is left out."""
WIDTH: Final = 160
"""Letters in a line where no terminal says it."""
MOST_LETTERS: Final = 48
"""Letters of a value that are shown."""


def explanation_of(texts: list[str], edition: str | None = None, profile: str | None = None) -> Explanation:
    """Explain hex as given: one frame or stream, or the fragments of a message.

    Raises:
        NotHex: a text is no hex.
        LocalProtocolError: there is no such profile.
        ValueError: there is no such edition.
    """
    return explain(
        *(piece for text in texts for piece in pieces_of(text)),
        edition=edition_named(edition) if edition else None,
        profile=profile_named(profile),
    )


def print_explanation(texts: list[str], *, edition: str | None, profile: str | None, as_json: bool) -> int:
    """Print what the bytes are; give the exit code: 0, 1 where something is against the standard, 2 where
    the question is wrong."""
    try:
        explanation = explanation_of(texts, edition, profile)
    except (ValueError, LocalProtocolError) as error:
        echo(f"northwatch: {error}", is_error=True)
        return 2
    if as_json:
        echo_json(json.dumps(record(explanation), ensure_ascii=False, indent=2).encode())
    else:
        console = Screen(width=None if sys.stdout.isatty() else WIDTH)
        for unit in explanation.units:
            _print_unit(console, unit, explanation.data, _title(unit))
        for whole in explanation.wholes:
            _print_unit(console, whole.unit, whole.data, _whole_title(whole))
    return 0 if explanation.is_valid else 1


def _title(unit: Unit) -> Text:
    if not unit.protocol:
        return Text(f"偏移 {unit.start}: 不属于任何帧 no frame", "bold red")
    title = Text(f"JT/T {unit.protocol}", "bold")
    if unit.edition:
        title.append(f"-{unit.edition}")
    if unit.msg_id is not None:
        title.append(f"  0x{unit.msg_id:04X} {unit.zh} {unit.en}", "bold green")
    if unit.terminal:
        title.append(f"  终端 {unit.terminal}")
    if unit.serial is not None:
        title.append(f"  流水号 {unit.serial}")
    if unit.clause:
        title.append(f"  {unit.clause}", "dim")
    return title


def _whole_title(whole: Whole) -> Text:
    what = {
        "reassembled": "分包合并后的消息体 body put together",
        "deciphered": "解密后的消息体 deciphered body",
    }
    return Text(f"{what[whole.reason]}  ", "bold").append_text(_title(whole.unit))


def _print_unit(console: Screen, unit: Unit, data: bytes, title: Text) -> None:
    console.print(title)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name, settings in (
        ("偏移", {"justify": "right", "no_wrap": True}),
        ("字节 bytes", {"max_width": 3 * MOST_BYTES // 2}),
        ("字段 field", {}),
        ("值 value", {}),
        ("含义 meaning", {}),
        ("条款 clause", {"style": "dim"}),
    ):
        table.add_column(name, **settings)
    before = ""
    for part in unit.parts:
        _add_part(table, part, data, "" if part.clause == before else part.clause)
        before = part.clause
    console.print(table)
    for finding in unit.findings:
        console.print(_finding(finding))
    if not unit.findings:
        console.print(Text("✓ 符合标准 as the standard says", "green"))
    console.print()


def _add_part(table: Table, part: Part, data: bytes, clause: str) -> None:
    style = FINDING_STYLES[part.finding.severity] if part.finding else SECTION_STYLES[part.section]
    style = "dim italic" if part.kind is Kind.DERIVED and not part.finding else style
    name = "  " * part.level + _name(part)
    meaning = Text(part.zh, "bold" if part.kind is Kind.GROUP else "")
    meaning.append(f" {part.en}" if part.en != part.zh else "", "dim")
    shown = "" if part.kind is not Kind.FIELD else _hex(data[part.start : part.end])
    offset = "" if part.kind is Kind.DERIVED else str(part.start)
    table.add_row(offset, shown, Text(name, style), _value(part), meaning, clause)
    for bit in part.bits:
        if bit.value:
            last = f"-{bit.bit + bit.width - 1}" if bit.width > 1 else ""
            value = f" = {bit.value}" if bit.width > 1 else ""
            line = Text(f"{bit.chinese}{value}", "yellow" if bit.is_reserved else "")
            line.append(f" {bit.name.replace('_', ' ')}" if bit.name != bit.chinese else "", "dim")
            table.add_row("", "", Text("  " * part.level + f"  bit {bit.bit}{last}", "dim"), "", line, "")
    if part.finding:
        table.add_row("", "", "", "", _finding(part.finding, with_place=False), "")


def _name(part: Part) -> str:
    *_, before, name = ["", *part.path.split(".")]
    return f"{before} id, length" if name == "head" else name


def _value(part: Part) -> Text:
    if part.kind is Kind.GROUP:
        return Text()
    value = to_json(part.value)
    text = "" if value is None else visible(str(value))
    if len(text) > MOST_LETTERS:
        text = f"{text[: MOST_LETTERS // 2]}…{text[-MOST_LETTERS // 4 :]}"
    scaled = quantity(part.value, part.unit)
    shown = Text(text, "bold")
    shown.append(f" = {scaled}" if scaled else f" {part.unit}" if part.unit and text else "")
    shown.append(f"  {visible(part.option)}" if part.option else "", "green")
    return shown


def _hex(data: bytes) -> str:
    if len(data) > MOST_BYTES:
        half = MOST_BYTES // 2
        return f"{data[:half].hex(' ')} … {data[-half:].hex(' ')} ({len(data)})"
    return data.hex(" ")


def _finding(finding: Finding, *, with_place: bool = True) -> Text:
    where = ""
    if with_place:
        end = f"–{finding.end - 1}" if finding.end > finding.start + 1 else ""
        where = f"偏移 {finding.start}{end}: "
    style = FINDING_STYLES[finding.severity]
    zh, en = visible(finding.zh), visible(finding.en)
    return Text(f"{SIGNS[finding.severity]} {where}{zh}", style).append(f" {en}", "dim")

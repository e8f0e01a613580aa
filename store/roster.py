"""The fleet as a file: vehicles and terminals from a CSV that somebody keeps in a spreadsheet.

    roster = read_roster(data)                        # pure: columns, spelling, doubles inside the file
    await enter_roster(connection, roster, by=name)   # against the database, all of it or nothing

A line names a vehicle (`plate`, `plate_color`), a terminal (`identity`), or both, which binds them. An
empty cell leaves alone what is known. Every wrong line is reported at once (`RosterInvalid`), because a
person who corrects a file of 3,000 lines wants one list, not 3,000 attempts.
"""

import asyncio
import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from psycopg import AsyncCursor

from store.audit import audit
from store.decisions import ACCEPTED, Decision, await_turn, decide
from store.fleet import MAX_TEXT, clean_identity, clean_plate, tell_viewers
from store.refusals import Fault, RosterInvalid, Unacceptable
from store.select import Connection, Row, fetch_all, fetch_one

COLUMNS = ("plate", "plate_color", "identity", "owner", "contact", "note")
HEADINGS = {
    "车牌号": "plate",
    "车牌": "plate",
    "车牌号码": "plate",
    "号牌号码": "plate",
    "车牌颜色": "plate_color",
    "号牌颜色": "plate_color",
    "颜色": "plate_color",
    "终端号": "identity",
    "终端手机号": "identity",
    "终端ID": "identity",
    "手机号": "identity",
    "SIM卡号": "identity",
    "车主": "owner",
    "业户": "owner",
    "业户名称": "owner",
    "所属企业": "owner",
    "联系方式": "contact",
    "联系电话": "contact",
    "联系人": "contact",
    "备注": "note",
}
"""What the columns are called in Chinese spreadsheets, with the usual name of each first."""

PLATE_COLORS = {
    0: ("无", "none"),
    1: ("蓝", "blue"),
    2: ("黄", "yellow"),
    3: ("黑", "black"),
    4: ("白", "white"),
    5: ("绿", "green"),
    9: ("其他", "other"),
    91: ("农黄", "farm yellow"),
    92: ("农绿", "farm green"),
    93: ("黄绿", "yellow-green"),
    94: ("渐变绿", "gradient green"),
}
"""Plate colours 车牌颜色: JT/T 415-2006 5.4.12 and what JT/T 697.7-2014 adds, by code."""

DEFAULT_PLATE_COLOR = 1
MAX_BYTES = 10 << 20  # some 200,000 lines; a fleet that needs more is imported in parts
MAX_LINES = 100_000  # of the file, with its header and the empty ones
MAX_LINE = 10_000  # characters; all cells of ours have some 2,000
MAX_FAULTS = 1000  # more are not read by anybody
LINES_AT_ONCE = 500
"""Lines written without a pause: some milliseconds."""
_ONE_IMPORT = 4712  # advisory lock


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. Empty texts say nothing; `plate` or `identity` is there."""

    line: int
    plate: str
    plate_color: int
    identity: str
    owner: str
    contact: str
    note: str


@dataclass(frozen=True, slots=True)
class Entered:
    """What an import did, or would do."""

    dry_run: bool
    lines: int
    vehicles_added: int
    vehicles_changed: int
    terminals_added: int
    terminals_changed: int
    bound: int


def read_roster(data: bytes) -> list[Entry]:
    """Read the file. The work is linear in its bytes, and ends with the fault after which nobody reads on.

    Raises:
        RosterInvalid: with every fault that shows without the database, up to `MAX_FAULTS`.
    """
    rows = csv.reader(_lines(_text(data)), delimiter=_delimiter(data), strict=True)
    faults: list[Fault] = []
    entries: list[Entry] = []
    try:
        columns = _columns(next(rows, []))
        for cells in rows:
            line = rows.line_num
            if line > MAX_LINES:
                faults.append(Fault(line, "", "too_many_lines", {"lines": MAX_LINES}))
                break
            if any(cell.strip() for cell in cells):
                _read_line(line, columns, cells, entries, faults)
            if len(faults) >= MAX_FAULTS:
                break
    except csv.Error as error:
        raise RosterInvalid([Fault(max(rows.line_num, 1), "", "not_csv", {"error": str(error)})]) from None
    faults.extend(islice(_doubles(entries), MAX_FAULTS))
    if not entries and not faults:
        faults.append(Fault(1, "", "no_lines"))
    if faults:
        raise RosterInvalid(sorted(faults, key=lambda fault: fault.line)[:MAX_FAULTS])
    return entries


def _text(data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise RosterInvalid([Fault(1, "", "too_large", {"mib": MAX_BYTES >> 20})])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        try:
            text = data.decode("gb18030")  # what a Chinese Excel writes
        except UnicodeDecodeError:
            raise RosterInvalid([Fault(1, "", "not_text")]) from None
    if "\0" in text:
        raise RosterInvalid([Fault(text[: text.index("\0")].count("\n") + 1, "", "zero_byte")])
    return text


def _lines(text: str) -> Iterator[str]:
    for number, line in enumerate(io.StringIO(text, newline=""), 1):
        if len(line) > MAX_LINE:
            raise RosterInvalid([Fault(number, "", "too_long", {"characters": MAX_LINE})])
        yield line


def _delimiter(data: bytes) -> str:
    header = data.split(b"\n", 1)[0]
    return max(",;\t", key=lambda mark: header.count(mark.encode()))


def _columns(header: list[str]) -> list[str]:
    columns = [HEADINGS.get("".join(cell.split()), cell.strip().lower()) for cell in header]
    usual = {column: heading for heading, column in reversed(HEADINGS.items())}
    known = ", ".join(f"{column} {usual[column]}" for column in COLUMNS)
    faults = [
        Fault(1, column[:40], "unknown_column", {"known": known})
        for column in dict.fromkeys(columns)
        if column not in COLUMNS
    ]
    faults += [Fault(1, column, "column_twice") for column in COLUMNS if columns.count(column) > 1]
    if not faults and "plate" not in columns and "identity" not in columns:
        faults = [Fault(1, "", "no_key_column")]
    if faults:
        raise RosterInvalid(faults[:MAX_FAULTS])
    return columns


def _read_line(
    line: int, columns: list[str], cells: list[str], entries: list[Entry], faults: list[Fault]
) -> None:
    if len(cells) > len(columns):
        faults.append(Fault(line, "", "too_many_cells", {"cells": len(cells), "columns": len(columns)}))
        return
    values = dict.fromkeys(COLUMNS, "") | {
        column: cell.strip() for column, cell in zip(columns, cells, strict=False)
    }
    if not values["plate"] and not values["identity"]:
        faults.append(Fault(line, "plate", "nothing_named"))
        return
    before = len(faults)
    plate = identity = ""
    plate_color = DEFAULT_PLATE_COLOR
    try:
        plate = clean_plate(values["plate"]) if values["plate"] else ""
    except Unacceptable as wrong:
        faults.append(Fault(line, wrong.field, wrong.code, wrong.params))
    try:
        identity = clean_identity(values["identity"]) if values["identity"] else ""
    except Unacceptable as wrong:
        faults.append(Fault(line, wrong.field, wrong.code, wrong.params))
    try:
        plate_color = read_plate_color(values["plate_color"])
    except Unacceptable as wrong:
        faults.append(Fault(line, wrong.field, wrong.code, wrong.params))
    for column in ("owner", "contact", "note"):
        if len(values[column]) > MAX_TEXT:
            faults.append(Fault(line, column, "too_long", {"characters": MAX_TEXT}))
    if len(faults) == before:
        texts = {column: values[column] for column in ("owner", "contact", "note")}
        entries.append(Entry(line, plate, plate_color, identity, **texts))


def read_plate_color(text: str) -> int:
    """Read a plate colour: its code, or its name in Chinese or English; nothing is blue.

    Raises:
        Unacceptable
    """
    name = text.strip().lower().removesuffix("色")
    if not name:
        return DEFAULT_PLATE_COLOR
    for code, names in PLATE_COLORS.items():
        if name in (str(code), *names):
            return code
    known = ", ".join(f"{code} {zh} {en}" for code, (zh, en) in PLATE_COLORS.items())
    raise Unacceptable("plate_color", "unknown_color", known=known)


def _doubles(entries: list[Entry]) -> Iterator[Fault]:
    plates: dict[tuple[str, int], int] = {}
    identities: dict[str, int] = {}
    for entry in entries:
        plate = (entry.plate, entry.plate_color)
        if entry.plate and plates.setdefault(plate, entry.line) != entry.line:
            yield _stands_already(entry.line, "plate", entry.plate, plates[plate])
        if entry.identity and identities.setdefault(entry.identity, entry.line) != entry.line:
            yield _stands_already(entry.line, "identity", entry.identity, identities[entry.identity])


def _stands_already(line: int, column: str, value: str, first: int) -> Fault:
    return Fault(line, column, "stands_already", {"value": value, "line": first})


async def enter_roster(
    connection: Connection, entries: list[Entry], *, by: str, dry_run: bool = False
) -> Entered:
    """Add and change vehicles and terminals, and bind them, inside a transaction of its own.

    Terminals of the file become known. With `dry_run` everything is tried and nothing is kept.

    Raises:
        RosterInvalid: lines contradict what is installed; nothing was entered.
    """
    async with connection.transaction(force_rollback=dry_run):
        async with connection.cursor() as cursor:
            await _stage(cursor, entries)
        # Two imports come one after the other. The tables themselves stay free for the worker.
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_ONE_IMPORT,))
        vehicles = await _enter_vehicles(connection)
        await await_turn(connection)
        entered = Entered(
            dry_run,
            len(entries),
            **vehicles,
            **await _enter_terminals(connection),
            bound=await _enter_installations(connection),
        )
        await _accept_terminals(connection, by)
        await connection.execute("DROP TABLE roster")
        if not dry_run:
            await audit(connection, by, "fleet.imported", str(len(entries)), **_counts(entered))
            await tell_viewers(connection)
    return entered


async def _stage(cursor: AsyncCursor[Row], entries: list[Entry]) -> None:
    await cursor.execute(
        "CREATE TEMPORARY TABLE roster (line integer, plate text, plate_color smallint, identity text,"
        " owner text, contact text, note text) ON COMMIT DROP"
    )
    async with cursor.copy("COPY roster FROM STDIN") as copy:
        for number, e in enumerate(entries):
            await copy.write_row((e.line, e.plate, e.plate_color, e.identity, e.owner, e.contact, e.note))
            if number % LINES_AT_ONCE == 0:
                await asyncio.sleep(0)  # others wait for this loop
    await cursor.execute("ANALYZE roster")


async def _enter_vehicles(connection: Connection) -> dict[str, int]:
    changed = await fetch_all(
        connection,
        "UPDATE vehicles v SET owner = coalesce(nullif(r.owner, ''), v.owner),"
        " contact = coalesce(nullif(r.contact, ''), v.contact), note = coalesce(nullif(r.note, ''), v.note)"
        " FROM roster r WHERE r.plate = v.plate AND r.plate_color = v.plate_color"
        " AND (coalesce(nullif(r.owner, ''), v.owner), coalesce(nullif(r.contact, ''), v.contact),"
        " coalesce(nullif(r.note, ''), v.note)) <> (v.owner, v.contact, v.note) RETURNING v.id",
    )
    added = await fetch_all(
        connection,
        "INSERT INTO vehicles (plate, plate_color, owner, contact, note)"
        " SELECT plate, plate_color, owner, contact, note FROM roster WHERE plate <> '' ORDER BY line"
        " ON CONFLICT (plate, plate_color) DO NOTHING RETURNING id",
    )
    return {"vehicles_added": len(added), "vehicles_changed": len(changed)}


async def _enter_terminals(connection: Connection) -> dict[str, int]:
    changed = await fetch_all(
        connection,
        "SELECT t.id FROM terminals t JOIN roster r ON r.identity = t.identity WHERE NOT t.known",
    )
    added = await fetch_all(
        connection,
        "INSERT INTO terminals (identity)"
        " SELECT identity FROM roster WHERE identity <> '' ORDER BY line"
        " ON CONFLICT (identity) DO NOTHING RETURNING id",
    )
    return {"terminals_added": len(added), "terminals_changed": len(changed)}


async def _accept_terminals(connection: Connection, by: str) -> None:
    """Accept all of the file as one version."""
    waiting = await fetch_all(
        connection,
        "SELECT t.identity FROM terminals t JOIN roster r ON r.identity = t.identity WHERE NOT t.known",
    )
    await decide(connection, by, [Decision(ACCEPTED, row["identity"], True) for row in waiting])


async def _enter_installations(connection: Connection) -> int:
    clashes = await fetch_all(
        connection,
        "SELECT r.line, r.plate, r.identity, other_v.plate AS other_plate, other_t.identity AS other_identity"
        " FROM roster r JOIN vehicles v ON v.plate = r.plate AND v.plate_color = r.plate_color"
        " JOIN terminals t ON t.identity = r.identity"
        " LEFT JOIN installations it"
        " ON it.terminal_id = t.id AND it.removed_at IS NULL AND it.vehicle_id <> v.id"
        " LEFT JOIN vehicles other_v ON other_v.id = it.vehicle_id"
        " LEFT JOIN installations iv"
        " ON iv.vehicle_id = v.id AND iv.removed_at IS NULL AND iv.terminal_id <> t.id"
        " LEFT JOIN terminals other_t ON other_t.id = iv.terminal_id"
        " WHERE it.id IS NOT NULL OR iv.id IS NOT NULL ORDER BY r.line",
    )
    if clashes:
        raise RosterInvalid([_clash(row) for row in clashes[:MAX_FAULTS]])
    row = await fetch_one(
        connection,
        "WITH bound AS (INSERT INTO installations (terminal_id, vehicle_id)"
        " SELECT t.id, v.id FROM roster r"
        " JOIN vehicles v ON v.plate = r.plate AND v.plate_color = r.plate_color"
        " JOIN terminals t ON t.identity = r.identity WHERE NOT EXISTS (SELECT FROM installations i"
        " WHERE i.terminal_id = t.id AND i.vehicle_id = v.id AND i.removed_at IS NULL)"
        " ORDER BY r.line RETURNING 1) SELECT count(*) AS bound FROM bound",
    )
    return int(row["bound"]) if row else 0


def _clash(row: Row) -> Fault:
    if row["other_plate"] is not None:
        elsewhere = {"identity": row["identity"], "plate": row["other_plate"]}
        return Fault(row["line"], "identity", "installed_elsewhere", elsewhere)
    another = {"plate": row["plate"], "identity": row["other_identity"]}
    return Fault(row["line"], "plate", "has_another", another)


def _counts(entered: Entered) -> dict[str, int]:
    names = ("vehicles_added", "vehicles_changed", "terminals_added", "terminals_changed", "bound")
    return {name: getattr(entered, name) for name in names}

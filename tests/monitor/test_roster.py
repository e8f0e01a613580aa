"""The import of a fleet from CSV."""

import asyncio
import re
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store import roster
from store.refusals import PROBLEMS, RosterInvalid
from store.roster import COLUMNS, HEADINGS, MAX_FAULTS, MAX_LINES, read_roster
from tests.monitor.facts import Facts

PATH = "/api/v1/fleet/import"
CSV = {"content-type": "text/csv; charset=utf-8"}


def _faults(data: bytes) -> list[tuple[int, str]]:
    with pytest.raises(RosterInvalid) as caught:
        read_roster(data)
    return [(fault.line, fault.column) for fault in caught.value.faults]


def test_columns_come_in_any_order_spelling_and_encoding() -> None:
    text = (
        "identity,plate_color,plate,owner\n013900000001,黄色,辽A·12345,鑫利龙\n,,辽B1,\n139,yellow-green,,\n"
    )
    chinese = "终端号;车牌颜色;车牌号;车主\n013900000001;黄色;辽A·12345;鑫利龙\n;;辽B1;\n139;yellow-green;;\n"
    expected = read_roster(text.encode())
    assert [(e.plate, e.plate_color, e.identity, e.owner) for e in expected] == [
        ("辽A12345", 2, "13900000001", "鑫利龙"),
        ("辽B1", 1, "", ""),
        ("", 93, "139", ""),
    ]
    for data in (
        text.encode("utf-8-sig"),
        text.encode("gb18030"),
        text.replace(",", "\t").replace("\n", "\r\n").encode(),
        chinese.encode("gb18030"),
    ):
        assert read_roster(data) == expected


@pytest.mark.parametrize(
    ("heading", "column"), [*HEADINGS.items(), *((each, each) for each in COLUMNS), (" 业 户 ", "owner")]
)
def test_headings_of_usual_spreadsheets_are_known(heading: str, column: str) -> None:
    other = "plate" if column == "identity" else "identity"
    value = {"plate": "辽A1", "plate_color": "2", "identity": "139"}.get(column, "x")
    (entry,) = read_roster(f"{heading},{other}\n{value},{'辽B1' if other == 'plate' else '140'}\n".encode())
    assert str(getattr(entry, column)) == value


def test_a_header_names_all_its_wrong_columns_and_what_is_known() -> None:
    with pytest.raises(RosterInvalid) as caught:
        read_roster("车号,车牌号,车牌,车型\n1,2,3,4\n".encode())
    assert [fault.column for fault in caught.value.faults] == ["车号", "车型", "plate"]
    assert "plate 车牌号, plate_color 车牌颜色, identity 终端号, owner 车主" in caught.value.faults[0].problem


def test_every_wrong_line_is_named() -> None:
    data = (
        "plate,plate_color,identity,owner\n"
        "辽A1,2,139,\n"
        "辽A1,2,140,\n"  # the plate stands in line 2
        "辽A2,purple,141,\n"
        "辽A3,2,14x,\n"
        ",2,,owner of nothing\n"
        "辽A4,2,139,\n"  # the identity stands in line 2
        "\n"
        "辽A5,2,142,a,b\n"
        f"辽A6,2,143,{'x' * 501}\n"
    )
    assert _faults(data.encode()) == [
        (3, "plate"),
        (4, "plate_color"),
        (5, "identity"),
        (6, "plate"),
        (7, "identity"),
        (9, ""),
        (10, "owner"),
    ]


def test_lines_are_counted_through_quoted_line_breaks() -> None:
    assert _faults(b'plate,note\nA1,"two\nlines"\n,x\n') == [(4, "plate")]


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", 1),
        (b"plate\n", 1),
        (b"plate,colour\nA1,2\n", 1),
        (b"plate,plate\nA1,A2\n", 1),
        (b"owner\nx\n", 1),
        (b'plate\n"A1\n', 2),
        (b"plate\nA\x00\n", 2),
        (b"plate\n\xff\xff\xff\n", 1),
        (b"\x7fELF", 1),
        (b"plate\n" + b"," * 20_000, 2),
    ],
)
def test_files_that_are_no_roster_are_refused(data: bytes, line: int) -> None:
    assert _faults(data)[0][0] == line


def test_list_of_faults_ends() -> None:
    data = b"plate,plate_color\n" + b"A1,purple\n" * 5000
    assert len(_faults(data)) == MAX_FAULTS


PIECES = st.lists(st.sampled_from([*COLUMNS, ",", "\n", '"', "A1", "\r"]))


@given(st.binary() | st.text().map(str.encode) | PIECES.map(lambda pieces: "".join(pieces).encode()))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        entries = read_roster(data)
    except RosterInvalid as refused:
        assert refused.faults
        return
    assert entries
    assert all(entry.plate or entry.identity for entry in entries)


async def test_import_adds_changes_and_binds_and_again_does_nothing(
    root: httpx.AsyncClient, facts: Facts
) -> None:
    await facts.terminal("13900000001")  # stands in the lobby
    await facts.vehicle("辽A1")
    lines = "辽A1,2,13900000001,鑫利龙\n辽A2,2,13900000002,\n辽A3,2,,\n,,13900000004,\n"
    data = f"plate,plate_color,identity,owner\n{lines}"
    tried = await root.post(PATH, params={"dry_run": True}, content=data.encode(), headers=CSV)
    assert tried.status_code == 200
    expected = {
        "dry_run": True,
        "lines": 4,
        "vehicles_added": 2,
        "vehicles_changed": 1,
        "terminals_added": 2,
        "terminals_changed": 1,
        "bound": 2,
    }
    assert tried.json() == expected
    assert (await root.get("/api/v1/vehicles")).json()["total"] == 1
    done = await root.post(PATH, content=data.encode(), headers=CSV)
    assert done.json() == {**expected, "dry_run": False}
    vehicles = (await root.get("/api/v1/vehicles")).json()["items"]
    assert [(v["plate"], v["owner"], v["terminal"] and v["terminal"]["identity"]) for v in vehicles] == [
        ("辽A1", "鑫利龙", "13900000001"),
        ("辽A2", "", "13900000002"),
        ("辽A3", "", None),
    ]
    terminals = (await root.get("/api/v1/terminals", params={"view": "known"})).json()
    assert terminals["total"] == 3
    again = (await root.post(PATH, content=data.encode(), headers=CSV)).json()
    assert {again[name] for name in expected if name not in ("dry_run", "lines")} == {0}


async def test_line_against_what_is_installed_stops_the_whole_file(
    root: httpx.AsyncClient, facts: Facts
) -> None:
    terminal, other = await facts.terminal("100"), await facts.terminal("200")
    await facts.installed(terminal, await facts.vehicle("辽A1"))
    await facts.installed(other, await facts.vehicle("辽A2"))
    data = "plate,plate_color,identity\n辽A9,2,900\n辽A1,2,300\n辽A3,2,200\n辽A1,1,100\n"
    answer = await root.post(PATH, content=data.encode(), headers=CSV)
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["code"] == "import_invalid"
    assert [(fault["line"], fault["field"]) for fault in problem["errors"]] == [
        (3, "plate"),
        (4, "identity"),
        (5, "identity"),
    ]
    assert "remove" in problem["errors"][0]["problem"]
    assert (await root.get("/api/v1/vehicles")).json()["total"] == 2
    assert (await root.get("/api/v1/terminals")).json()["total"] == 2


async def test_same_file_twice_at_once_is_entered_once(root: httpx.AsyncClient) -> None:
    data = b"plate,identity\n" + b"".join(b"A%d,%d\n" % (i, 1000 + i) for i in range(200))
    answers = await asyncio.gather(*(root.post(PATH, content=data, headers=CSV) for _ in range(3)))
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert sum(answer.json()["bound"] for answer in answers) == 200
    assert sum(answer.json()["vehicles_added"] for answer in answers) == 200


async def test_only_csv_is_imported_and_only_by_admins(
    root: httpx.AsyncClient, anna: httpx.AsyncClient
) -> None:
    assert (await root.post(PATH, json={})).status_code == 415
    assert (await anna.post(PATH, content=b"plate\nA1\n", headers=CSV)).status_code == 403
    refused = await root.post(PATH, content=b"plate\n", headers=CSV)
    assert refused.json()["errors"] == [
        {
            "line": 1,
            "field": "",
            "problem": "there is no line under the header",
            "code": "no_lines",
            "params": {},
        }
    ]


def test_reading_ends_with_the_last_fault_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    read_line = roster._read_line

    def counted(line: int, *given: Any) -> None:
        read.append(line)
        read_line(line, *given)

    monkeypatch.setattr(roster, "_read_line", counted)
    assert len(_faults(b"identity\n" + b"x\n" * 3_000_000)) == MAX_FAULTS
    assert len(read) == MAX_FAULTS


@pytest.mark.parametrize("line", [b"\n", b",\n", b"x\n", b"A%d,\n"])
def test_lines_are_counted_whatever_they_say(line: bytes) -> None:
    lines = (line % number if b"%" in line else line for number in range(MAX_LINES))
    faults = _faults(b"plate,identity\n" + b"".join(lines))
    assert faults[-1][0] <= MAX_LINES + 1


async def test_a_file_is_read_beside_the_loop(
    root: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: set[int] = set()

    def noted(data: bytes) -> list[roster.Entry]:
        readers.add(threading.get_ident())
        return read_roster(data)

    monkeypatch.setattr(roster, "read_roster", noted)
    assert (await root.post(PATH, content=b"plate\nA1\n", headers=CSV)).status_code == 200
    assert readers and threading.get_ident() not in readers


async def test_what_is_wrong_has_a_code_that_both_languages_know(root: httpx.AsyncClient) -> None:
    data = "plate,plate_color,identity\n辽A1,2,139\n辽A1,purple,14x\n,,\n,2,\n".encode()
    errors = (await root.post(PATH, content=data, headers=CSV)).json()["errors"]
    assert [(each["line"], each["field"], each["code"]) for each in errors] == [
        (3, "identity", "bad_identity"),
        (3, "plate_color", "unknown_color"),
        (5, "plate", "nothing_named"),
    ]
    for each in errors:
        assert each["problem"] == PROBLEMS[each["code"]].format(**each["params"])


@pytest.mark.parametrize("language", ["zh", "en"])
def test_the_page_says_every_problem(language: str) -> None:
    page = (Path(__file__).parents[2] / f"web/src/i18n/{language}.ts").read_text()
    said = dict(re.findall(r"^  'wrong\.(\w+)': '(.*)',$", page, re.MULTILINE))
    assert said.keys() == PROBLEMS.keys()
    for code, text in said.items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", PROBLEMS[code])), code

"""Texts of terminals and imports are data wherever something is printed, logged or exported."""

import ast
import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from rich.console import Console

import northwatch
from monitor.exports import as_csv
from northwatch.explain import print_explanation
from northwatch.screen import Screen, styled
from northwatch.supervisor import Journal
from protocol.edition import Edition
from protocol.frame import Frame
from protocol.messages import encode_body
from store.exports import Export
from store.text import visible
from tests.northwatch.test_commands import Run, runner

HOSTILE = "[/]\x1b[2J\x1b]0;PWN\x07\x9b31m\u202eevil\u2066\u200b\u2028[red]x[/bold]\x7f"
"""Markup that closes what is not open, sequences for terminals, writing that turns, an end of a line."""

SHOWN = visible(HOSTILE)
COLOR_END = "\x1b[0m"


@pytest.fixture
def run(tmp_path: Path, dsn: str) -> Run:
    return runner(tmp_path / "data", dsn)


@pytest.fixture
def hostile(connection: psycopg.Connection[Any]) -> Iterator[str]:
    """A database in which every text of a table that people read is hostile; gives the terminal's number."""
    identity = "13900000001"
    connection.execute(
        "INSERT INTO terminals (identity, manufacturer_id, model, maker_terminal_id, registered_plate, note,"
        " known) VALUES (%s, %s, %s, %s, %s, %s, true)",
        (identity, *[HOSTILE] * 5),
    )
    connection.execute(
        "INSERT INTO vehicles (plate, plate_color, owner, contact, note) VALUES (%s, 2, %s, %s, %s)",
        [HOSTILE] * 4,
    )
    connection.execute(
        "INSERT INTO installations (terminal_id, vehicle_id, installed_at)"
        " SELECT t.id, v.id, now() FROM terminals t, vehicles v"
    )
    connection.execute(
        "INSERT INTO users (name, display_name, role, password_hash) VALUES ('mei', %s, 'admin', 'x')",
        (HOSTILE,),
    )
    connection.execute(
        "INSERT INTO holds (vehicle_id, begins_at, ends_at, reason, placed_by)"
        " SELECT id, now() - interval '1 day', now(), %s, %s FROM vehicles",
        (HOSTILE, HOSTILE),
    )
    connection.commit()
    yield identity


PRINTS = {"print", "typer.echo", "typer.secho", "Console", "rich.print", "print_json"}
COMMANDS = (
    ("terminal", "list"),
    ("terminal", "list", "--search", "1390"),
    ("hold", "list"),
    ("hold", "list", "--all"),
    ("hold", "release", "1"),
    ("user", "list"),
    ("user", "disable", "mei"),
    ("replay", "--list"),
    ("doctor",),
    ("log",),
    ("verify",),
    ("terminal", "block", "13900000001"),
    ("terminal", "unbind", "13900000001"),
    ("terminal", "bind", "13900000001", HOSTILE),
    ("terminal", "add", HOSTILE),
    ("hold", "add", HOSTILE, "--from", "2026-03-01", "--to", "2026-03-02", "--reason", "x"),
    ("export", "positions", "--from", "2026-03-01", "--to", "2026-03-02", "-o", "x.csv", "--plate", HOSTILE),
)


def test_every_command_shows_them_harmless(run: Run, hostile: str) -> None:
    shown = ""
    for command in COMMANDS:
        done = run(*command)
        said = done.stdout + done.stderr
        assert visible(said, keep_lines=True) == said, (command, said)
        shown += said
    assert "[/]" in shown and r"\x1b[2J" in shown and r"\u202eevil" in shown


def test_an_import_that_is_refused_says_so_harmless(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "fleet.csv"
    file.write_text(f'plate,identity,plate_color\n"{HOSTILE}",139,{HOSTILE}\n', "utf-8")
    done = run("terminal", "import", str(file))
    assert done.exit_code == 1
    assert visible(done.stderr, keep_lines=True) == done.stderr


def test_nothing_prints_but_the_screen() -> None:
    """A command that is added tomorrow prints by `northwatch.screen` too."""
    for path in Path(northwatch.__file__).parent.rglob("*.py"):
        if path.name == "screen.py":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("print", "typer.echo", "Console", "rich.print", "print_json"), (
                    path,
                    called,
                )


def test_a_screen_takes_no_text_for_more_than_text() -> None:
    for color in ("truecolor", None):
        screen = Screen(file=io.StringIO(), width=400, color_system=color, force_terminal=color is not None)
        screen.print(HOSTILE)
        screen.print(styled(("broken", "red"), HOSTILE))
        said = screen.file.getvalue()  # type: ignore[attr-defined]
        assert said.count(SHOWN) == 2
        assert not [line for line in said.splitlines() if "\x1b[2J" in line]


@pytest.mark.parametrize("as_json", [True, False])
def test_explanations(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    plate = HOSTILE.encode("gb18030")
    body = bytes(4) + b"MAKER" + bytes(27) + b"\x02" + plate
    wire = Frame(0x0100, bytes(5) + b"\x01", 1, body).encode()
    print_explanation([wire.hex()], edition=None, profile=None, as_json=as_json)
    said = capsys.readouterr().out
    assert visible(said, keep_lines=True) == said
    assert (r"\u001b[2J" if as_json else r"\x1b[2J") in said


def test_records(run: Run) -> None:
    fields = {"auth_code": HOSTILE}
    wire = Frame(0x0102, bytes(6), 1, encode_body(0x0102, Edition.E2013, fields)).encode()
    for command in (("decode", wire.hex()), ("decode", "--explain", wire.hex())):
        said = run(*command).stdout
        assert visible(said, keep_lines=True) == said
    done = subprocess.run(
        [sys.executable, "-m", "northwatch", "decode", "--jsonl", "-"],
        input=json.dumps({"id": HOSTILE, "hex": wire.hex()}).encode(),
        capture_output=True,
        check=True,
    )
    line = done.stdout.decode()
    assert visible(line, keep_lines=True) == line
    answer = json.loads(line)
    assert answer["id"] == HOSTILE and answer["body"] == fields


LOGGING = """
import logging, structlog
from northwatch.process import prepare
prepare()
log = structlog.get_logger()
text = {text!r}
log.warning("terminal refused", terminal=text, reason=[text])
log.warning(text, **{{"peer": text}})
logging.getLogger("library").error("%s is odd", text)
try:
    raise ValueError(text)
except ValueError:
    log.exception("frame not handled")
    logging.getLogger("library").exception("again")
"""


def test_messages_of_processes() -> None:
    script = LOGGING.format(text=HOSTILE + "\nforged")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    said = done.stderr.decode()
    assert visible(said, keep_lines=True) == said
    assert said.count(SHOWN) >= 5 and "Traceback" in said


def test_lines_of_children_keep_their_colors_alone() -> None:
    output = io.StringIO()
    journal = Journal(Console(file=output, width=400, force_terminal=True, color_system="standard"))
    journal.say("worker", f"\x1b[31mred{COLOR_END} {HOSTILE}")
    said = output.getvalue()
    assert "\x1b[2J" not in said and "\x9b" not in said and "\u202e" not in said and "\x07" not in said
    assert "\x1b[31mred" in said


@pytest.mark.parametrize("start", [*"=+-@＝＋－＠\t\r\n", " =", "\n="])
def test_cells_of_csv_are_no_formulas(start: str) -> None:
    rows = [(f"{start}cmd|' /C calc'!A0",), (HOSTILE,), ("辽A12345",), (None,)]
    export = Export((("plate", 25),), len(rows), iter([rows]), lambda: None)
    content = b"".join(as_csv(export)).decode()
    first, second, third, fourth = list(csv.reader(io.StringIO(content, newline="")))[1:]
    assert first[0].startswith("'")
    assert (second, third, fourth) == ([SHOWN], ["辽A12345"], [""])

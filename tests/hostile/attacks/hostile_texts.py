"""Registrations whose plates, makers and models are markup, escape sequences and writing that turns."""

import unicodedata

from tests.hostile import wire
from tests.hostile.attack import Target
from tests.hostile.service import until

TEXTS = (
    "[/]",
    "[red]x[/bold]",
    "\x1b[2J\x1b[31mPWN",
    "\x1b]0;title\x07",
    "辽\u202eA12345\u202c",
    "辽\u200bA12345",
    "\x9b31m\x85",
    "a\nb\r\nc\u2028d",
    "=cmd|' /C calc'!A0",
    "＝1+1",
    "<img src=x onerror=alert(1)>",
    "'; DROP TABLE terminals; --",
)
HARMFUL = {"Cc", "Cf", "Cs", "Zl", "Zp"}
COMMANDS = (
    ("terminal", "list"),
    ("hold", "list"),
    ("user", "list"),
    ("log",),
    ("doctor",),
    ("verify",),
    ("replay", "--list"),
)


def attack(target: Target) -> str:
    """Register, then read every list, export and message."""
    begun = target.service.row("SELECT count(*) FROM terminals")[0]
    for number, text in enumerate(TEXTS):
        data = text.encode("gb18030")
        body = bytes.fromhex("00150064") + data[:5].ljust(5, b"\0") + data[:20].ljust(20, b"\0")
        body += data[:7].ljust(7, b"\0") + b"\x02" + data
        with target.connect() as link:
            link.ask(f"1370001{number:04}", 0x0100, body)
            link.ask(f"1370001{number:04}", 0x0200, wire.location())
    until(
        lambda: target.service.row("SELECT count(*) FROM terminals")[0] >= begun + len(TEXTS),
        "the terminals are known",
    )
    plates = {row["plate"] for row in target.service.api("/vehicles?limit=500")["items"]}
    assert not [plate for plate in plates if not plate.replace("-", "").isalnum()], plates
    for command in COMMANDS:
        done = target.service.command(*command)
        assert "Traceback" not in done.stderr and "MarkupError" not in done.stderr, done.stderr
        assert not (found := harmful(done.stdout + done.stderr)), (command, found)
    period = ("--from", "2020-01-01", "--to", "2100-01-01")
    file = target.service.directory / "positions.csv"
    done = target.service.command("export", "positions", *period, "--output", str(file))
    assert done.returncode == 0, done.stderr
    assert not (found := harmful(file.read_text("utf-8-sig").replace("\r\n", "\n"))), found
    assert "Traceback" not in target.service.said
    assert not (found := harmful(target.service.said)), found
    return f"{len(TEXTS)} registrations, {len(COMMANDS)} commands, 1 export"


def harmful(said: str) -> list[str]:
    """Give the lines in which something is not seen."""
    return [
        line
        for line in said.split("\n")
        if any(unicodedata.category(letter) in HARMFUL for letter in line.rstrip("\r"))
    ]

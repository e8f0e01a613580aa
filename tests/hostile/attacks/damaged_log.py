"""A byte of the log changes before the worker reads it; a person says `northwatch log skip`."""

import re

from tests.hostile import wire
from tests.hostile.attack import Target
from tests.hostile.service import until
from tests.hostile.watch import Felt

WORD = b"a byte of this will change"


def attack(target: Target) -> str:
    """Damage one record, see that everybody is told, and mend it with the words of the manual."""
    service = target.service
    with service.frozen("worker"), target.connect() as link:
        link.send(wire.frame("13730000001", 0x0900, WORD))
        assert link.answer()[2] == 0
        _bend(target)
    until(lambda: "log_damaged" in _problems(target), "a page that tells of the damage")
    assert "northwatch log skip" in service.command("doctor").stdout
    shown = service.command("log")
    size = re.search(r"; (\d+) bytes", shown.stdout)
    assert shown.returncode == 1 and size and int(size[1]) < 1_000, shown.stdout + shown.stderr
    mended = service.command("log", "skip", "--yes", "--by", "mei")
    assert mended.returncode == 0, mended.stdout + mended.stderr
    target.watch.come_to_rest()
    until(lambda: {"log_skipped"} == _problems(target) & {"log_damaged", "log_skipped"}, "that it goes on")
    (kept,) = (service.data / "log" / "damaged").iterdir()
    assert WORD[1:] in kept.read_bytes()
    assert service.command("log", "seen").returncode == 0
    until(lambda: "log_skipped" not in _problems(target), "that it was seen")
    target.watch.felt = Felt()  # until a person says so, facts wait: that is the promise
    return f"one byte, {size[1]} bytes left out"


def _problems(target: Target) -> set[str]:
    return {each["code"] for each in target.service.api("/health")["problems"]}


def _bend(target: Target) -> None:
    for path in (target.service.data / "log" / "0").glob("*.seg"):
        at = path.read_bytes().find(WORD)
        if at >= 0:
            with path.open("r+b") as file:
                file.seek(at)
                file.write(b"A")
            return
    raise AssertionError("an answered frame is not in the log")

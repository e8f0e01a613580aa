"""The page has words, in both languages, for every name that the server chooses."""

import ast
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from protocol.columns.locations import CUT_BATCH, SHORT_BODY
from protocol.errors import FRAME_ERRORS
from protocol.reassembly import Reason
from store.positions import HASH_COLLISION
from store.quarantine import POISONED
from tickets.lifecycle import CHANGE
from worker import messages
from worker.reading import TOO_MANY

ROOT = Path(__file__).parents[2]
ROOMS = ("gateway", "keeper", "monitor", "northwatch", "store", "worker")

OF_ANSWERS = (messages.UNKNOWN_ID, messages.UNDECODABLE_BODY, messages.ENCRYPTED_BODY, messages.FRAGMENT)
OF_FACTS = (messages.MEDIA_QUOTA, SHORT_BODY, CUT_BATCH, HASH_COLLISION, POISONED, TOO_MANY)
REASONS = {*FRAME_ERRORS, *Reason, *OF_ANSWERS, *OF_FACTS}
"""Of quarantine."""

ACTION_AT = {"audit": 2, "_audit": 2, "note": 1, "audit_folded": 1, "note_in_vain": 1}
"""Which argument names the action, by the function that writes it down."""
TOLD = {
    "gateway/server.py",
    "gateway/certificates.py",
    "keeper/keeper.py",
    "worker/run.py",
    "northwatch/pulse.py",
}
"""Where parts say of themselves how they are."""
SAID_OTHERWISE = {"signed_in", "signed_out", "sign_in", "export"}
"""Actions whose subjects are users, or what is exported."""
NOT_SHOWN = {"did_zh", "log"}


@pytest.fixture(params=["zh", "en"])
def words(request: pytest.FixtureRequest) -> set[str]:
    """The keys of one dictionary."""
    text = (ROOT / f"web/src/i18n/{request.param}.ts").read_text("utf-8")
    return set(re.findall(r"^  '([\w.]+)': ", text, re.MULTILINE))


def test_every_reason_of_quarantine(words: set[str]) -> None:
    assert {f"reason.{reason}" for reason in REASONS} - words == set()


def test_every_action_of_the_audit(words: set[str]) -> None:
    found = set(chain.from_iterable(actions(tree) for tree in trees()))
    assert {"alarm.", "ticket.", "signed_in", "quarantine.deleted", "log.seen", "terminal.blocked"} <= found
    assert {"sign_in.failed", "sign_in.locked", "signed_out"} <= found
    found |= {f"alarm.{change}" for change in ("taken", "released", "handled")}
    found |= {f"ticket.{change}" for change in CHANGE.values()}
    assert {f"action.{action}" for action in found if not action.endswith(".")} - words == set()


def test_every_subject_and_detail_of_the_audit(words: set[str]) -> None:
    found = set(chain.from_iterable(actions(tree) for tree in trees()))
    kinds = {action.partition(".")[0] for action in found} - SAID_OTHERWISE
    assert {"alarm", "ticket", "user", "record"} <= kinds
    assert {f"subject.{kind}" for kind in kinds} - words == set()
    details = set(chain.from_iterable(given(tree) for tree in trees()))
    assert {"address", "new_device", "role", "rows"} <= details
    assert {f"detail.{name}" for name in details} - words == set()


def test_everything_that_parts_say_of_themselves(words: set[str]) -> None:
    found = set(chain.from_iterable(facts(parsed(ROOT / path)) for path in TOLD))
    assert {"io_uring", "stands_s", "loop_delay_s", "chores"} <= found
    assert {f"fact.{name}" for name in found - NOT_SHOWN} - words == set()


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def trees() -> Iterator[ast.Module]:
    return (parsed(path) for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")))


def actions(tree: ast.Module) -> Iterator[str]:
    """Give the actions that are written down; of one that is put together its beginning."""
    for call in (each for each in ast.walk(tree) if isinstance(each, ast.Call)):
        name = getattr(call.func, "id", getattr(call.func, "attr", ""))
        at = ACTION_AT.get(name)
        if at is not None and len(call.args) > at:
            yield from texts(call.args[at])
        for keyword in call.keywords:
            if keyword.arg == "audited" and isinstance(keyword.value, ast.Tuple):
                yield from texts(keyword.value.elts[1])


def given(tree: ast.Module) -> Iterator[str]:
    """Give the names of what is written down beside an action."""
    for call in (each for each in ast.walk(tree) if isinstance(each, ast.Call)):
        if getattr(call.func, "id", getattr(call.func, "attr", "")) in ACTION_AT:
            yield from (keyword.arg for keyword in call.keywords if keyword.arg)


def facts(tree: ast.Module) -> Iterator[str]:
    """Give the names in what `health`, `state` and `_skipped` return."""
    for function in (each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)):
        if function.name in ("health", "state", "_skipped"):
            for held in (each for each in ast.walk(function) if isinstance(each, ast.Dict)):
                for key in held.keys:
                    if key is not None:
                        yield from texts(key)


def texts(node: ast.expr) -> Iterator[str]:
    first = node.values[0] if isinstance(node, ast.JoinedStr) else node
    if isinstance(first, ast.Constant) and isinstance(first.value, str):
        yield first.value

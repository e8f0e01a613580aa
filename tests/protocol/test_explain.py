"""Explanations: every byte once, values as decoding gives them, and what exactly is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.connection import Terminal
from protocol.edition import Edition
from protocol.explain import Explanation, Unit, explain, record
from protocol.frame import MAX_BODY, Frame, escape
from protocol.messages import MESSAGES, decode_body, encode_body
from protocol.messages.location import location
from protocol.parts import Kind
from tests.protocol.strategies import bodies, frames, times

EVERY = [(msg_id, edition) for msg_id in sorted(MESSAGES) for edition in Edition]
VECTORS = [
    json.loads(line)
    for path in sorted(Path(__file__).with_name("vectors").glob("*.jsonl"))
    for line in path.read_text("utf-8").splitlines()
]
NO_BYTES = {"layout", "error"}
"""Names of decoded fields that only say how something was read."""


def assert_covered(explanation: Explanation) -> None:
    """Every byte of the input stands in one field, in order, and every byte of a whole in one of its own."""
    units = explanation.units
    assert [unit.start for unit in units] == sorted(unit.start for unit in units)
    assert_cover([part for unit in units for part in unit.parts], len(explanation.data))
    for whole in explanation.wholes:
        assert_cover(whole.unit.parts, len(whole.data))


def assert_cover(parts: list[Any], length: int) -> None:
    at = 0
    for part in parts:
        assert 0 <= part.start <= part.end <= length
        if part.kind is Kind.FIELD:
            assert part.start == at, f"{part.path} begins at {part.start}, not at {at}"
            at = part.end
    assert at == length


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Decoded fields by path."""
    if isinstance(value, dict):
        found = {}
        for name, field in value.items():
            found |= leaves(field, f"{path}.{name}" if path else name)
        return found
    if isinstance(value, list):
        return {p: v for n, field in enumerate(value) for p, v in leaves(field, f"{path}.{n}").items()}
    return {path: value}


def assert_explained(unit: Unit, fields: dict[str, Any]) -> None:
    """Every decoded value is in a part of the same path."""
    explained = {part.path: part.value for part in unit.parts if part.section == "body"}
    for path, value in leaves(fields).items():
        if path.rpartition(".")[2] not in NO_BYTES:
            assert path in explained, f"{path} is not explained: {sorted(explained)}"
            assert explained[path] == value, path


def wires(msg_id: int, edition: Edition, body: bytes) -> list[bytes]:
    terminal = Terminal("13912345678", edition)
    terminal.say(msg_id, body)
    return [b"\x7e" + content + b"\x7e" for content in terminal.data_to_send().split(b"\x7e") if content]


@pytest.mark.parametrize(("msg_id", "edition"), EVERY, ids=[f"{id:#06x}-{edition}" for id, edition in EVERY])
@given(data=st.data())
@settings(max_examples=10)
def test_every_byte_of_every_message_is_explained(
    msg_id: int, edition: Edition, data: st.DataObject
) -> None:
    body = encode_body(msg_id, edition, data.draw(bodies(msg_id, edition)))
    explanation = explain(*wires(msg_id, edition, body), edition=edition)
    assert_covered(explanation)
    unit = explanation.wholes[0].unit if explanation.wholes else explanation.units[0]
    fields = decode_body(msg_id, Edition(unit.edition), body)
    if isinstance(fields, dict):
        assert_explained(unit, fields)
    json.dumps(record(explanation))

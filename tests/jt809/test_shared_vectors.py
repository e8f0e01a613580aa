"""Frames of other projects and real platforms, where the shared folder with them is present."""

import re
from typing import Any

import pytest

from protocol.jsonl import decode_record, encode_record
from protocol.jt809.framing import Deframer
from tests.protocol.test_shared_vectors import FILE, VECTORS, scorer

pytestmark = pytest.mark.skipif(not FILE.exists(), reason=f"NO SHARED VECTORS: {FILE} is not there")

OURS = [vector for vector in VECTORS if vector["protocol"] == "809"]
DISAGREEMENTS = {
    "j809-9200-116": "a plate colour that is its decoder's default: 0x9201 of 2019 names no vehicle"
}
"""Vectors that say something else than their bytes do."""


def asked(vector: dict[str, Any]) -> dict[str, Any]:
    """The request for a vector, with the keys that its note has."""
    keys = re.search(r"M1=(\d+) IA1=(\d+) IC1=(\d+)", vector.get("note") or "")
    record = {name: vector[name] for name in ("id", "hex", "protocol", "version")}
    return record | {"keys": list(map(int, keys.groups()))} if keys else record


def test_messages_agree_with_the_vectors() -> None:
    score, differences = scorer(), {}
    for vector in OURS:
        answer = decode_record(asked(vector))
        assert answer["ok"] and answer["msg_id"] == vector["msg_id"], vector["id"]
        wanted = {name: value for name, value in vector["expect"].items() if name not in score.SKIP}
        if found := score.same("", wanted, answer["body"]):
            differences[vector["id"]] = found
    assert differences.keys() == DISAGREEMENTS.keys() or not OURS, differences


def test_every_body_is_read_to_its_end() -> None:
    for vector in OURS:
        body = decode_record(asked(vector))["body"]
        sub = body.get("sub_body", {})
        assert not {"error", "rest"} & (body.keys() | sub.keys()), (vector["id"], body)


def test_what_was_read_is_written_again() -> None:
    """Where texts are padded behind and lengths are right, the same bytes come back."""
    same = [
        encode_record(decode_record(request) | request | {"hex": None}).get("hex") == vector["hex"]
        for vector in OURS
        if (request := asked(vector))
    ]
    assert sum(same) >= 0.85 * len(same)


def test_the_deframer_finds_them() -> None:
    stream = b"".join(bytes.fromhex(vector["hex"]) for vector in OURS)
    assert all(isinstance(found, bytes) for found in Deframer().feed(stream))

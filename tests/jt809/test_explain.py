"""Explanations of frames between platforms: every byte once, values as decoding gives them."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.explain import explain, record
from protocol.jt809.dialect import Dialect
from protocol.jt809.framing import Frame, unescape
from protocol.jt809.message import decode_frame
from protocol.jt809.peer import Peer
from tests.jt809.strategies import frames, messages
from tests.jt809.test_messages import EACH_EDITION
from tests.protocol.test_explain import assert_covered, assert_explained

NOW = 1_769_818_531
VECTORS = [
    json.loads(line)
    for path in sorted(Path(__file__).with_name("vectors").glob("*.jsonl"))
    for line in path.read_text("utf-8").splitlines()
]
LOGIN = bytes.fromhex(
    next(vector["hex"] for vector in VECTORS if vector["msg_id"] == "0x1001" and vector["version"] == "2011")
)


@pytest.mark.parametrize(
    ("id", "dialect"), EACH_EDITION, ids=[f"{id:#06x}-{dialect}" for id, dialect in EACH_EDITION]
)
@given(data=st.data())
@settings(max_examples=5)
def test_every_byte_of_every_message_is_explained(id: int, dialect: Dialect, data: st.DataObject) -> None:
    peer = Peer(210001, dialect)
    wire = peer.write(id, data.draw(messages(id, dialect)), 7, NOW)
    explanation = explain(wire, edition=dialect)
    assert_covered(explanation)
    (unit,) = explanation.units
    assert unit.protocol == "809" and explanation.is_valid, unit.findings
    _, fields = peer.read(unescape(wire[1:-1]))
    assert isinstance(fields, dict)
    assert_explained(unit, fields)
    json.dumps(record(explanation))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_vectors_of_our_own_are_explained(vector: dict[str, str]) -> None:
    explanation = explain(bytes.fromhex(vector["hex"]), edition=Dialect(vector["dialect"]))
    assert_covered(explanation)
    assert [unit.msg_id for unit in explanation.units] == [int(vector["msg_id"], 16)]


@given(
    st.binary(max_size=80) | frames().map(Frame.encode), st.lists(st.integers(0, 400)), st.binary(max_size=3)
)
def test_any_bytes_are_explained(data: bytes, cuts: list[int], more: bytes) -> None:
    broken = bytearray(b"\x5b" + data)
    for cut in cuts:
        broken[cut % len(broken)] ^= 0x5B
    assert_covered(explain(b"\x5b" + bytes(broken) + more + b"\x5d"))
    assert_covered(explain(b"\x5b" + bytes(broken)))


def test_a_wrong_crc_is_told_with_the_right_one() -> None:
    broken = bytearray(LOGIN)
    broken[-2] ^= 1
    (finding,) = explain(bytes(broken)).findings
    assert (finding.code, finding.start, finding.end) == ("bad_checksum", len(broken) - 3, len(broken) - 1)
    assert f"0x{LOGIN[-3:-1].hex().upper()}" in finding.en


def test_frames_that_are_cut_off_and_bytes_between_are_told() -> None:
    codes = [finding.code for finding in explain(LOGIN[:-4] + LOGIN + b"ab" + LOGIN).findings]
    assert codes == ["bad_length", "unread", "no_closing_flag", "garbage"]


def test_a_bad_escape_is_told_with_its_place() -> None:
    at = LOGIN.index(b"\x01\x02\x0f")
    broken = LOGIN[:at] + b"\x5a\x07" + LOGIN[at + 2 :]
    finding = explain(broken).findings[0]
    assert (finding.code, finding.start) == ("bad_escape", at)
    assert "0x07" in finding.en


def test_an_encrypted_body_is_told() -> None:
    frame = Frame(0x1200, 1, 2, b"secret", encrypt_flag=1)
    (finding,) = explain(frame.encode()).findings
    assert finding.code == "encrypted" and explain(frame.encode()).is_valid
    assert not isinstance(decode_frame(frame, Dialect.V1), dict)

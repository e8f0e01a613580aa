"""Frames of other projects and real devices, where the shared folder with them is present.

The vectors stay outside of the repository, because they belong to others: `../shared/vectors` beside it, or
the folder that `NORTHWATCH_SHARED` names.
"""

import importlib.machinery
import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import pytest

from protocol.attachments import AttachmentDeframer, FilePart, Upload
from protocol.deframer import Deframer, PlainFrame
from protocol.frame import unescape
from protocol.jsonl import decode_record, encode_record
from protocol.media import MediaDeframer, encode_packet
from protocol.messages import MESSAGES
from protocol.recorder import read_block, write_block

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("NORTHWATCH_SHARED", ROOT.parent / "shared")) / "vectors"
FILE = SHARED / "public.jsonl"

pytestmark = pytest.mark.skipif(
    not FILE.exists(), reason=f"NO SHARED VECTORS: {FILE} is not there; set NORTHWATCH_SHARED to their folder"
)
VECTORS: list[dict[str, Any]] = (
    [json.loads(line) for line in FILE.read_text("utf-8").splitlines()] if FILE.exists() else []
)

DISAGREEMENTS = {
    "go-addition-1",
    "yzh-rec-0200-1-015",
    "emqx-gbk-encode-send-text-54",
}
"""Vectors that say something else than the standard does; `docs/conformance.md` has the clause for each."""

PADDED_OTHERWISE = {
    "sc-0702-test-2019-4-test-2019-5--1",
    "sc-0702-test3-1",
    "yzh-rec-8400-0-076",
    "yzh-rec-8400-1-077",
}
"""Vectors whose texts are padded on the left, or without need: read alike, not written alike."""


def scorer() -> Any:
    """The program that scores a decoder, as a module: its comparison is the referee."""
    loader = importlib.machinery.SourceFileLoader("score", str(SHARED / "score"))
    spec = importlib.util.spec_from_loader("score", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def ours(vector: dict[str, Any]) -> bool:
    """The vector is a message that we declare, and sources agree about it."""
    is_message = vector["kind"] in ("codec", "subpackage") and vector["protocol"] != "809"
    return is_message and int(vector["msg_id"], 16) in MESSAGES and not vector.get("conflict")


def test_messages_agree_with_the_vectors() -> None:
    score, differences, compared = scorer(), {}, 0
    for vector in filter(ours, VECTORS):
        if vector.get("valid") is False:
            continue
        compared += 1
        answer = decode_record({"id": vector["id"], "hex": vector["hex"]})
        wanted = {name: value for name, value in vector["expect"].items() if name not in score.SKIP}
        errors = [] if answer["ok"] and answer["msg_id"] == vector["msg_id"] else [str(answer)]
        for name, field in score.HEADER.items():
            if name in wanted:
                errors += score.same(field, wanted.pop(name), answer.get(field))
        errors += score.same("", wanted, answer.get("body") or {})
        if errors:
            differences[vector["id"]] = errors
    assert compared > 100
    assert differences.keys() == DISAGREEMENTS, differences


def test_every_disagreement_is_explained() -> None:
    explained = (ROOT / "docs" / "conformance.md").read_text("utf-8")
    assert all(f"`{name}`" in explained for name in DISAGREEMENTS | PADDED_OTHERWISE)


def test_messages_are_written_back_byte_by_byte() -> None:
    """Frames only: into how long fragments a message is cut is the sender's choice."""
    for vector in filter(ours, VECTORS):
        if isinstance(vector["hex"], list):
            continue
        if vector["roundtrip"] and vector["valid"] and vector["id"] not in DISAGREEMENTS | PADDED_OTHERWISE:
            answer = decode_record({"id": vector["id"], "hex": vector["hex"]})
            assert encode_record(answer)["hex"] == vector["hex"], vector["id"]


def test_bad_frames_are_refused() -> None:
    bad = [v for v in VECTORS if v["kind"] == "negative" and v["expect"].get("error_scope") == "frame"]
    assert bad
    for vector in bad:
        assert not decode_record({"id": vector["id"], "hex": vector["hex"]})["ok"], vector["id"]


def test_frames_judged_valid_are_accepted_and_others_refused() -> None:
    judged = [
        v for v in VECTORS if v["kind"] == "codec" and v["protocol"] != "809" and isinstance(v["hex"], str)
    ]
    for vector in judged:
        if vector.get("valid") is not None and "C16" not in (vector.get("conflict") or []):
            assert decode_record({"id": vector["id"], "hex": vector["hex"]})["ok"] is vector["valid"], vector[
                "id"
            ]


def test_escapes() -> None:
    for vector in VECTORS:
        if vector["kind"] == "escape" and "C09" not in (vector.get("conflict") or []):
            content = bytes.fromhex(vector["hex"])[1:-1]
            assert unescape(content).hex() == vector["expect"]["unescaped_hex"], vector["id"]


def test_streams() -> None:
    """Framing only: the payloads of some are no frames, so pieces that only a checksum refuses count too."""
    for vector in VECTORS:
        if vector["kind"] != "stream" or vector.get("conflict") or "frames" not in vector["expect"]:
            continue
        found = Deframer().feed(bytes.fromhex(vector["hex"]))
        pieces = [e.wire if isinstance(e, PlainFrame) else b"\x7e" + e.raw + b"\x7e" for e in found]
        wires = [piece.hex() for piece in pieces]
        wanted = vector["expect"]["frames"]
        assert [wire for wire in wires if wire in wanted] == wanted, vector["id"]


def test_media_packets() -> None:
    for vector in VECTORS:
        wire = bytes.fromhex(vector["hex"]) if vector["id"].startswith("j1078-") else b""
        if vector["kind"] == "media" and wire:
            (packet,) = MediaDeframer().feed(wire)
            assert isinstance(packet, dict) and encode_packet(packet) == wire, vector["id"]
            wanted = {name: value for name, value in vector["expect"].items() if name != "remaining_hex"}
            assert {name: packet[name] for name in wanted} == wanted
        elif vector["kind"] == "negative" and wire:
            assert MediaDeframer().feed(wire) == [], vector["id"]


def test_packets_of_files() -> None:
    for vector in VECTORS:
        if vector["kind"] == "media" and vector["id"].startswith("jsatl-"):
            part = AttachmentDeframer().feed(bytes.fromhex(vector["hex"]))
            wanted = vector["expect"]
            assert part == [FilePart(wanted["file_name"], wanted["offset"], bytes.fromhex(wanted["data"]))]


def test_attachment_sessions() -> None:
    """A whole link: files in parts of any order, and every file is complete when its end is announced."""
    for vector in VECTORS:
        if vector["kind"] != "session" or vector["protocol"] != "jsatl12":
            continue
        events = AttachmentDeframer().feed(b"".join(map(bytes.fromhex, vector["hex"])))
        frames = [
            decode_record({"hex": event.wire.hex()}) for event in events if isinstance(event, PlainFrame)
        ]
        announced, *_, done = frames
        files = {item["file_name"]: Upload(item["file_size"]) for item in announced["body"]["items"]}
        assert list(files) == vector["expect"]["files"]
        for event in events:
            if isinstance(event, FilePart):
                files[event.file_name].add(event.offset, len(event.data))
        assert done["msg_id"] == "0x1212" and files[done["body"]["file_name"]].is_complete


def test_recorder_packets() -> None:
    read = 0
    for vector in VECTORS:
        if vector["msg_id"] in ("0x0700", "0x8700", "0x8701") and vector["kind"] == "codec":
            direction = MESSAGES[int(vector["msg_id"], 16)].direction
            block = bytes.fromhex(decode_record({"hex": vector["hex"]})["body"]["content_hex"])
            fields = read_block(direction, block)
            if fields is not None:
                read += 1
                assert write_block(direction, fields) == block and "error" not in fields, vector["id"]
    assert read > 10


def test_coordinates_that_are_twos_complement() -> None:
    """Sources that disagree with the standard (C01) are read right by the profile that says so."""
    seen = [vector for vector in VECTORS if vector.get("conflict") == ["C01"] and vector["kind"] == "codec"]
    assert seen
    for vector in seen:
        body = decode_record({"hex": vector["hex"], "profile": "two's complement"})["body"]
        for axis in ("latitude", "longitude"):
            assert body[axis] == pytest.approx(vector["expect"][axis]), vector["id"]

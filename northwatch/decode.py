"""`northwatch decode`: one frame for people, or JSON lines for programs."""

import sys
from collections.abc import Iterable
from typing import Any

import msgspec
from protocol.jsonl import decode_record


def decode_lines(lines: Iterable[bytes]) -> None:
    """Answer each line at once on standard output; a line that is no JSON object costs that line only."""
    encoder = msgspec.json.Encoder(enc_hook=str)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        sys.stdout.buffer.write(encoder.encode(_decode_line(number, line)) + b"\n")
        sys.stdout.buffer.flush()


def _decode_line(number: int, line: bytes) -> dict[str, Any]:
    try:
        record = msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        return {"id": None, "ok": False, "error": f"line {number} is no JSON: {error}"}
    if not isinstance(record, dict):
        return {"id": None, "ok": False, "error": f"line {number} is no JSON object"}
    return decode_record(record)


def decode_frame(text: str) -> int:
    """Print one frame given in hex; give the exit code, 1 for what is no frame."""
    from rich import print_json

    digits = "".join(text.split()).removeprefix("0x")
    answer = decode_record({"id": None, "hex": digits})
    answer.pop("id", None)
    print_json(msgspec.json.encode(answer, enc_hook=str).decode(), indent=2, ensure_ascii=False)
    return 0 if answer["ok"] else 1

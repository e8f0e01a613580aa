"""`northwatch decode` and `encode`: one frame for people, or JSON lines for programs."""

import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import msgspec

from northwatch.screen import echo, echo_json
from protocol import jsonl
from store.text import visible_json

Answer: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]


def decode_lines(lines: Iterable[bytes]) -> None:
    """Answer each line at once on standard output; a line that is no JSON object costs that line only."""
    _answer_lines(lines, jsonl.decode_record)


def encode_lines(lines: Iterable[bytes]) -> None:
    """Write a frame for each line, as `decode_lines` reads them."""
    _answer_lines(lines, jsonl.encode_record)


def _answer_lines(lines: Iterable[bytes], answer: Answer) -> None:
    encoder = msgspec.json.Encoder(enc_hook=str)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        said = encoder.encode(_answer(f"line {number}", line, answer)).decode()
        sys.stdout.buffer.write(visible_json(said).encode() + b"\n")
        sys.stdout.buffer.flush()


def _answer(name: str, line: bytes | str, answer: Answer) -> dict[str, Any]:
    try:
        record = msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        return {"id": None, "ok": False, "error": f"{name} is no JSON: {error}"}
    if not isinstance(record, dict):
        return {"id": None, "ok": False, "error": f"{name} is no JSON object"}
    return answer(record)


def decode_frame(texts: list[str]) -> int:
    """Print one frame, or the message of several fragments, given in hex; give the exit code, 1 for what is
    no frame."""
    wires = ["".join(text.split()).removeprefix("0x") for text in texts]
    answer = jsonl.decode_record({"id": None, "hex": wires[0] if len(wires) == 1 else wires})
    answer.pop("id", None)
    echo_json(msgspec.json.format(msgspec.json.encode(answer, enc_hook=str), indent=2), in_color=True)
    return 0 if answer["ok"] else 1


def encode_record(text: str) -> int:
    """Print the frame of one JSON object in hex, a fragmented message as one line for each frame; give the
    exit code, 1 for what cannot be written."""
    answer = _answer("the argument", text, jsonl.encode_record)
    if not answer["ok"]:
        echo(f"northwatch: {answer['error']}", is_error=True)
        return 1
    frames = answer["hex"]
    echo("\n".join(frames) if isinstance(frames, list) else frames)
    return 0

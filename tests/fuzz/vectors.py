"""The vectors of our own, as seeds."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]


def vectors(room: str) -> Iterator[dict[str, Any]]:
    """Give every vector of a folder of tests, `wires` being its frames."""
    for path in sorted((TESTS / room / "vectors").glob("*.jsonl")):
        for line in path.read_text("utf-8").splitlines():
            vector = json.loads(line)
            frames = vector["hex"] if isinstance(vector["hex"], list) else [vector["hex"]]
            yield vector | {"wires": [bytes.fromhex(frame) for frame in frames]}

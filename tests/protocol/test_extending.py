"""docs/extending.md is true: its Python runs, and its vector is one."""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(python|json)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
VECTOR = """
import json
from protocol.jsonl import decode_record
vector = json.loads({vector!r})
wanted = {{name: value for name, value in vector.items() if name not in ("clause", "hex")}}
assert encode_record(wanted)["hex"] == vector["hex"], encode_record(wanted)
decoded = decode_record(vector)
assert wanted.items() <= decoded.items(), decoded
"""


def test_the_examples_of_the_page_are_true() -> None:
    blocks = BLOCK.findall((ROOT / "docs" / "extending.md").read_text("utf-8"))
    assert {kind for kind, _ in blocks} == {"python", "json"}
    code = [text for kind, text in blocks if kind == "python"]
    code += [VECTOR.format(vector=text) for kind, text in blocks if kind == "json"]
    for _, text in blocks:
        assert text.strip()
    # A process of its own: what it declares must not be there for other tests.
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(code)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


def test_the_vector_is_one_line_of_json() -> None:
    (vector,) = [
        text
        for kind, text in BLOCK.findall((ROOT / "docs" / "extending.md").read_text("utf-8"))
        if kind == "json"
    ]
    assert json.loads(vector)["msg_id"] == "0x0E01"
    assert "\n" not in vector.strip()

"""docs/coverage.md is what the registries say."""

import subprocess
import sys
from pathlib import Path

from protocol.items import ITEMS
from protocol.jt809.message import MESSAGES as PLATFORM_MESSAGES
from protocol.messages import MESSAGES

ROOT = Path(__file__).parents[2]


def test_the_documentation_lists_what_is_declared() -> None:
    made = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate_coverage.py"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    written = (ROOT / "docs" / "coverage.md").read_text("utf-8")
    assert made.stdout == written, "run: python docs/generate_coverage.py > docs/coverage.md"
    names = {type.id: type.chinese for type in MESSAGES.values()}
    for id, chinese in [*names.items(), *((type.id, type.chinese) for type in PLATFORM_MESSAGES.values())]:
        assert f"| 0x{id:04X} | {chinese} |" in written
    for item in ITEMS.values():
        assert f"| {item.key} | {item.chinese} |" in written

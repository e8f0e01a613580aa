"""The page's own tests (vitest): the reducer of the live messages, the map's features, the dictionaries."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

WEB = Path(__file__).parents[2] / "web"


def test_the_page_passes_its_own_tests() -> None:
    # Where the machine has no Node, the one that built the page lies beside Python.
    path = f"{os.environ['PATH']}{os.pathsep}{Path(sys.executable).parent}"
    npm = shutil.which("npm", path=path)
    if npm is None or not (WEB / "node_modules/.bin/vitest").exists():
        pytest.skip("NO NODE: `make web` installs what the page needs")
    command = [npm, "test", "--silent"]
    ran = subprocess.run(command, cwd=WEB, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr

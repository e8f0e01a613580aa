"""What a story of the worker stands on: a log, and a place for the worker's state."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.worker.stories import Story


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    made = Story(tmp_path / "log")
    yield made
    made.writer.close()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"

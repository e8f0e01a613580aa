"""What the keeper must be told: plain values, so that a test builds them in a line."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class KeeperOptions:
    """The settings of the keeper and its chores."""

    dsn: str
    data_dir: Path

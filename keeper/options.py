"""What the keeper must be told: plain values, so that a test builds them in a line."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from keeper.retention import Retention
from store.archive import CHUNK_BYTES


@dataclass(frozen=True, slots=True)
class KeeperOptions:
    """The settings of the keeper and its chores."""

    dsn: str
    data_dir: Path
    archive: bool = True
    """Consumed logs become the archive; else they are deleted."""
    chunk_bytes: int = CHUNK_BYTES
    """So much is sealed at once: less than what a full log has to wait for."""
    retention: Retention = field(default_factory=Retention)
    enrols: bool = True
    """Policy `open`: who has reported well for a day is accepted."""
    forget_after: timedelta = timedelta(days=7)
    """Of terminals in the lobby: since they were last heard."""
    compress_after: timedelta = timedelta(days=7)
    """A day of positions is compressed when it has been over for so long, where the server can."""

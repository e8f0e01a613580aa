"""Media are let go of after years, and their contents when no row names them any more."""

import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from keeper.chores import media, retention
from keeper.options import KeeperOptions
from store.blobs import SHELVES, Blobs

Connection = psycopg.Connection[Any]
NOW = datetime.now(UTC)


def _insert(connection: Connection, at: datetime, content: bytes) -> None:
    connection.execute(
        "INSERT INTO media (terminal_id, received_at, media_id, kind, format, event, channel, part, parts,"
        " serial, edition, head, sha256, size, last_received_at, log_id, position, ordinal)"
        " SELECT id, %(at)s, 1, 0, 0, 0, 1, 1, 1, 1, '2013', '', %(sha256)s, 1, %(at)s,"
        " gen_random_uuid(), 0, 0 FROM terminals",
        {"at": at, "sha256": hashlib.sha256(content).digest()},
    )


def test_old_media_go_and_their_contents_after_them(connection: Connection, tmp_path: Path) -> None:
    options, blobs = KeeperOptions("unused", tmp_path), Blobs(tmp_path / "media")
    assert not media.step(connection, options, NOW).what  # there is no medium yet
    connection.execute("INSERT INTO terminals (identity) VALUES ('1')")
    for content, age in (
        (b"old", options.retention.handling + timedelta(days=1)),
        (b"young", timedelta(days=900)),
    ):
        os.utime(blobs.path(blobs.put(content)), (0, 0))
        _insert(connection, NOW - age, content)

    def swept() -> list[str]:
        return [what for _ in range(SHELVES) if (what := media.step(connection, options, NOW).what)]

    assert swept() == []
    assert retention.step(connection, options, NOW).what.startswith("deleted 1 rows of media")
    assert swept() == [f"swept 1 contents of media from shelf {hashlib.sha256(b'old').hexdigest()[:2]}"]
    assert blobs.get(hashlib.sha256(b"young").digest()) == b"young"

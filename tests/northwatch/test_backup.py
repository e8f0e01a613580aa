"""Backups: what is restored goes on where the backup was made, and ends with the same facts."""

import json
import random
import shutil
from pathlib import Path

import pytest

from northwatch.backup import BackupError, back_up, restore
from northwatch.config import Settings
from protocol.columns import identities
from store.archive import Archivist
from tests.northwatch.test_commands import runner
from tests.store.archives import AT_ONCE
from tests.worker.stories import Story, facts, finish, work, worker
from tests.worker.test_exactly_once import tell
from tests.worker.test_fragments import picture


def settings(data_dir: Path, dsn: str) -> Settings:
    return Settings(data_dir=data_dir, database_url=dsn)


def test_a_restored_platform_goes_on(dsn: str, empty_dsn: str, tmp_path: Path) -> None:
    data_dir, backup, parts = tmp_path / "data", tmp_path / "backup", []
    story = Story(data_dir / "log" / "0")
    (data_dir / "secret").write_bytes(b"for authentication codes")
    tell(story, random.Random(7), 150)
    story.sync()
    with worker(story, dsn, data_dir / "worker", batch_bytes=2000) as made:
        for _ in range(5):
            made.step()
        back_up(settings(data_dir, dsn), backup, parts.append)  # in the middle, with records unread
        back_up(settings(data_dir, dsn), backup, parts.append)  # and once more into the same place
        finish(made)
    restored = settings(tmp_path / "again", empty_dsn)
    assert restore(restored, backup, parts.append)["cursors"]
    assert {"the database", "log", "secret"} <= set(parts)
    assert (tmp_path / "again" / "secret").read_bytes() == b"for authentication codes"
    story.directory = tmp_path / "again" / "log" / "0"
    with worker(story, empty_dsn, tmp_path / "again" / "worker", as_owner=True) as made:
        finish(made)
    assert facts(empty_dsn) == facts(dsn)
    with pytest.raises(BackupError, match="not empty"):
        restore(restored, backup, parts.append)
    with pytest.raises(BackupError, match="tables already"):
        restore(settings(tmp_path / "other", empty_dsn), backup, parts.append)


def test_media_and_archive_are_restored_and_proved(dsn: str, empty_dsn: str, tmp_path: Path) -> None:
    data_dir, backup = tmp_path / "data", tmp_path / "backup"
    story = Story(data_dir / "log" / "0")
    session = story.open("13912345678")

    def take(number: int) -> None:
        story.say(session, 0x0801, picture(number, bytes([number]) * 900))
        story.tick()
        work(story, dsn, data_dir / "worker")

    def seal() -> None:
        archivist = Archivist(data_dir / "archive", data_dir / "log", identities, AT_ONCE)
        while archivist.step(story.now_us + 3_600_000_000):
            pass

    take(1)
    seal()
    back_up(settings(data_dir, dsn), backup, lambda part: None)
    take(2)
    seal()
    take(3)  # which is in the log alone
    back_up(settings(data_dir, dsn), backup, lambda part: None)
    shutil.rmtree(data_dir)
    restored = settings(tmp_path / "again", empty_dsn)
    restore(restored, backup, lambda part: None)
    verify = runner(restored.data_dir, empty_dsn)
    told = json.loads(verify("verify", "--json").stdout)
    assert told["holds"] and told["media"]["files"] == 3 and told["chunks"] == 2, told
    frames = verify("frames", "13912345678", "--from", "2026-06-01", "--to", "2026-06-02").stdout.splitlines()
    assert len(frames) == 3
    next((restored.data_dir / "media").glob("??/*")).unlink()
    assert verify("verify").exit_code == 1


def test_what_is_no_whole_backup_is_refused(dsn: str, empty_dsn: str, tmp_path: Path) -> None:
    backup, data_dir = tmp_path / "backup", tmp_path / "data"
    story = Story(data_dir / "log" / "0")
    story.started()
    work(story, dsn, data_dir / "worker")
    back_up(settings(data_dir, dsn), backup, lambda part: None)
    with pytest.raises(BackupError, match="no backup"):
        back_up(settings(data_dir, dsn), data_dir, lambda part: None)
    (backup / "manifest.json").rename(tmp_path / "manifest.json")
    with pytest.raises(BackupError, match="no whole backup"):
        restore(settings(tmp_path / "again", empty_dsn), backup, lambda part: None)
    (tmp_path / "manifest.json").rename(backup / "manifest.json")
    with (backup / "database.dump").open("ab") as dump:
        dump.write(b"more")
    with pytest.raises(BackupError, match="not whole"):
        restore(settings(tmp_path / "again", empty_dsn), backup, lambda part: None)

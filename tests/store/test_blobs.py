"""Contents of media are durable when they are said to be, and cost few syncs."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.blobs import Blobs


def watched(work: Callable[[], object]) -> list[tuple[Path, set[str]]]:
    """Run something, and give what was synced: a file, or a directory with the names in it."""
    synced: list[tuple[Path, set[str]]] = []
    sync = os.fsync

    def watch(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append((path, {each.name for each in path.iterdir()} if path.is_dir() else set()))
        sync(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", watch)
        work()
    return synced


@given(st.lists(st.binary(max_size=3), max_size=40), st.lists(st.binary(max_size=3), max_size=10))
@settings(max_examples=30, deadline=None)
def test_a_batch_costs_a_sync_for_each_content_and_directory(
    contents: list[bytes], before: list[bytes]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        blobs = Blobs(Path(name) / "media")
        blobs.put_all(before)
        digests: list[bytes] = []
        synced = watched(lambda: digests.extend(blobs.put_all(contents)))
        assert digests == [hashlib.sha256(each).digest() for each in contents]
        assert [blobs.get(each) for each in digests] == contents
        files = [path for path, _ in synced if path.suffix]
        assert len(files) == len(set(files)) == len(set(contents) - set(before))
        shelves = {blobs.path(each).parent for each in digests}
        assert len(synced) <= len(files) + len(shelves) + 3
        last = dict(synced)
        for directory in shelves | ({blobs.directory} if contents else set()):
            assert last[directory] == {each.name for each in directory.iterdir()}, "a name is not durable"


def test_a_hundred_media_cost_no_more_syncs_than_they_and_their_directories_are(tmp_path: Path) -> None:
    """They were 587."""
    contents = [bytes([number]) for number in range(100)]
    synced = watched(lambda: Blobs(tmp_path / "media").put_all(contents))
    assert len(synced) <= 200


def test_two_that_put_the_same_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one puts all of it while the other has written it and not yet given it its name."""
    blobs, content, sync = Blobs(tmp_path / "media"), bytes(1000), os.fsync
    others: list[bytes] = []

    def meanwhile(descriptor: int) -> None:
        sync(descriptor)
        if not others and Path(f"/proc/self/fd/{descriptor}").readlink().suffix:
            others.append(b"")
            others[0] = in_thread(lambda: blobs.put(content))

    monkeypatch.setattr(os, "fsync", meanwhile)
    assert blobs.put(content) == others[0]
    assert blobs.fault(others[0]) is None
    assert [each.name for each in blobs.path(others[0]).parent.iterdir()] == [others[0].hex()]


def in_thread(work: Callable[[], bytes]) -> bytes:
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()

"""The file between a writer and a slow reader."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor import spool
from monitor.spool import ReaderGone, ReaderTooSlow, Spool
from store.storage import DiskFile


@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(1, 16), st.integers(1, 16))
def test_what_is_read_is_what_was_written(pieces: list[bytes], size: int, piece: int) -> None:
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as thread:
        patch.setattr(spool, "PIECE", piece)
        file = Spool(size=size)

        def write() -> None:
            for each in pieces:
                file.write(each)
            file.end()

        writing = thread.submit(write)
        assert b"".join(iter(file.read, b"")) == b"".join(pieces)
        writing.result()
        file.close()


def test_a_writer_waits_for_a_reader_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "PATIENCE_S", 0.05)
    file = Spool(size=10)
    file.write(b"0123456789")
    with pytest.raises(ReaderTooSlow):
        file.write(b"x")
    assert file.read() == b"0123456789"
    file.write(b"x")  # there is room again


def test_closing_wakes_both() -> None:
    full, empty = Spool(size=1), Spool(size=1)
    full.write(b"x")
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(full.write, b"y"), threads.submit(empty.read)]
        threading.Event().wait(0.05)
        for file in (full, empty):
            file.close()
        for each in waiting:
            with pytest.raises(ReaderGone):
                each.result(60)


FULL_DISK = """
import resource, signal
from monitor.spool import Spool
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (15, 15))
file = Spool(size=20)
file.write(bytes(10))
try:
    file.write(bytes(10))
except OSError:
    print("no room")
"""


def test_a_disk_that_takes_a_part_is_full() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "no room\n"


def test_what_is_missing_is_an_error_and_no_end() -> None:
    file = Spool(size=20)
    file.write(bytes(10))
    file._file.truncate(5)
    with pytest.raises(OSError, match="5 are there"):
        file.read()


def test_a_slow_disk_holds_up_only_who_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there is read while more is being written, and closing waits for nobody."""
    file, started, goes_on = Spool(size=10), threading.Event(), threading.Event()
    file.write(b"01234")
    write = DiskFile.write

    def slow(disk: DiskFile, data: bytes, offset: int) -> None:
        started.set()
        assert goes_on.wait(60)
        write(disk, data, offset)

    monkeypatch.setattr(DiskFile, "write", slow)
    with ThreadPoolExecutor(1) as thread:
        writing = thread.submit(file.write, b"56789")
        assert started.wait(60)
        assert file.read() == b"01234"
        file.close()
        assert not writing.done()
        goes_on.set()
        writing.result(60)
    assert file._file.closed

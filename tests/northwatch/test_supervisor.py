"""Supervision of real processes: what dies is started again, with back-off, and everything stops in order."""

import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from northwatch import gateways, supervisor
from northwatch.supervisor import (
    FIRST_WAIT_S,
    HEALTHY_AFTER_S,
    LONGEST_WAIT_S,
    AlreadyRunning,
    Backoff,
    DirectoryUnusable,
    Journal,
    PortTaken,
    Supervisor,
)

SAY_AND_WAIT = "import time; print('ready', flush=True); time.sleep(600)"
NOTE_THE_STOP = (
    "import signal, sys, time, pathlib\n"
    "def leave(*_):\n"
    "    pathlib.Path(sys.argv[1]).open('a').write(sys.argv[2] + '\\n'); sys.exit(0)\n"
    "signal.signal(signal.SIGTERM, leave)\n"
    "print('ready', flush=True); time.sleep(600)\n"
)


@pytest.fixture
def output() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def crew(output: io.StringIO) -> Iterator[Supervisor]:
    crew = Supervisor(Journal(Console(file=output, soft_wrap=True)))
    yield crew
    crew.stop(sorted({child.name for child in crew.children}))


def until(condition: Callable[[], object], crew: Supervisor) -> None:
    while not condition():
        crew.round()
        time.sleep(0.01)


def test_what_is_killed_starts_again(crew: Supervisor, output: io.StringIO) -> None:
    children = [crew.add(name, [sys.executable, "-c", SAY_AND_WAIT], os.environ) for name in ("a", "b")]
    until(lambda: output.getvalue().count("ready") == 2, crew)
    for child in children:
        before = child.pid
        assert before is not None
        os.kill(before, signal.SIGKILL)
        until(lambda child=child, before=before: child.pid not in (None, before), crew)  # type: ignore[misc]
        assert child.restarts == 1
    assert "a was killed by SIGKILL; starts again in 1 s" in output.getvalue()
    until(lambda: output.getvalue().count("ready") == 4, crew)
    assert "b       │ ready" in output.getvalue()


def test_stop_keeps_the_order(crew: Supervisor, output: io.StringIO, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    for name in ("gateway", "worker", "sim"):
        crew.add(name, [sys.executable, "-c", NOTE_THE_STOP, str(notes), name], os.environ)
    until(lambda: output.getvalue().count("ready") == 3, crew)
    crew.stop(["sim", "gateway", "worker"])
    assert notes.read_text().split() == ["sim", "gateway", "worker"]


def test_what_will_not_stop_is_killed(crew: Supervisor, output: io.StringIO) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True)"
    child = crew.add("deaf", [sys.executable, "-c", deaf + "; time.sleep(600)"], os.environ)
    until(lambda: "ready" in output.getvalue(), crew)
    child.stop(grace_s=0.1)
    assert child.pid is None
    assert "is killed" in output.getvalue()


def test_children_end_with_a_supervisor_that_is_killed(tmp_path: Path, output: io.StringIO) -> None:
    """What follows its supervisor ends with it, in its own time; the next supervisor waits for that."""
    note, leave = tmp_path / "pid", tmp_path / "leave"
    child = (
        "import pathlib, os, time; from northwatch.process import prepare, stop_event;"
        "stop = stop_event(); prepare();"
        f"pathlib.Path({str(note)!r}).write_text(str(os.getpid())); stop.wait()\n"
        f"while not pathlib.Path({str(leave)!r}).exists(): time.sleep(0.02)"
    )
    parent = (
        "import io, os, sys, time; from rich.console import Console;"
        "from northwatch.supervisor import Journal, Supervisor;"
        "crew = Supervisor(Journal(Console(file=io.StringIO())));"
        f"crew.add('x', [sys.executable, '-c', {child!r}], os.environ); time.sleep(600)"
    )
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", parent], os.environ)
    while not note.exists() or not note.read_text():
        time.sleep(0.02)
    orphan = int(note.read_text())
    assert orphan not in supervisor.orphans()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert orphan in supervisor.orphans()
    leave.touch()
    supervisor.await_orphans(Journal(Console(file=output)))
    assert not _is_alive(orphan)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


STOP_OFTEN = (
    "import os, signal, threading; from northwatch.process import stop_event\n"
    "for _ in range(50):\n"
    "    stop = stop_event()\n"
    "    threading.Timer(0.001, os.kill, (os.getpid(), signal.SIGTERM)).start()\n"
    "    while not stop.wait(0): pass\n"
)


def test_a_signal_stops_whatever_it_interrupts() -> None:
    """Also the wait for it, in the middle of which the event is locked."""
    subprocess.run([sys.executable, "-c", STOP_OFTEN], check=True, timeout=120)


def test_one_supervisor_per_data_directory(tmp_path: Path) -> None:
    held = supervisor.lock(tmp_path / "data")
    with held, pytest.raises(AlreadyRunning, match=f"process {os.getpid()}"):
        supervisor.lock(tmp_path / "data")
    supervisor.lock(tmp_path / "data").close()


def test_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(DirectoryUnusable, match=r"^data_dir: .*file/data cannot be used: Not a directory$"):
        supervisor.lock(file / "data")


def test_a_taken_port_names_the_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"gateway\.port: port {port} on 127\.0\.0\.1"):
            supervisor.require_free("127.0.0.1", port, "gateway.port")
    supervisor.require_free("127.0.0.1", port, "gateway.port")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        datagrams.bind(("127.0.0.1", 0))
        port = datagrams.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"gateway\.udp_port: port {port} on 127\.0\.0\.1"):
            supervisor.require_free("127.0.0.1", port, "gateway.udp_port", kind=socket.SOCK_DGRAM)
    supervisor.require_free("127.0.0.1", port, "gateway.udp_port", kind=socket.SOCK_DGRAM)
    with pytest.raises(PortTaken, match=r"monitor\.port: 'no\.such\.host\.invalid'"):
        supervisor.require_free("no.such.host.invalid", 1, "monitor.port")


@given(
    st.lists(st.floats(0, 10 * HEALTHY_AFTER_S)),
    st.sampled_from([(FIRST_WAIT_S, LONGEST_WAIT_S), (gateways.FIRST_WAIT_S, gateways.LONGEST_WAIT_S)]),
)
def test_backoff_doubles_to_its_limit_and_forgets_after_a_healthy_minute(
    runs: list[float], waits: tuple[float, float]
) -> None:
    first, longest = waits
    backoff, expected = Backoff(first, longest), first
    for ran_s in runs:
        if ran_s >= HEALTHY_AFTER_S:
            expected = first
        assert backoff.after(ran_s) == expected
        expected = min(2 * expected, longest)

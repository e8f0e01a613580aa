"""What `northwatch doctor` says about the gateway's certificate, and about who does not answer."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from northwatch import doctor
from northwatch.config import GatewaySettings, KeeperSettings, MonitorSettings, Settings, WorkerSettings
from northwatch.doctor import Findings, _examine_database, _look_at_certificate, _look_at_processes
from northwatch.endpoint import Endpoint
from northwatch.wiring import certificate_files, database_directory
from store.embedded import Embedded
from store.log import LogReader, LogWriter
from store.records import Tick
from tests.gateway.authority import Authority
from tests.ports import reserve

PARTS = ("gateway", "worker", "keeper", "monitor")


@pytest.mark.parametrize(
    ("days", "problem"),
    [(30, ""), (13.5, "expires in 13 days"), (-0.5, "has expired")],
)
def test_a_certificate_that_ends_is_told(tmp_path: Path, days: float, problem: str) -> None:
    files = Authority(tmp_path).issue("gateway", days=days)
    found = looked_at(files.certificate, files.key)
    assert "valid until" in found.facts[0][1]
    assert [problem in each.what for each in found.problems] == [True] * bool(problem)


def test_a_pair_that_does_not_match_is_told(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    found = looked_at(authority.issue("one").certificate, authority.issue("other").key)
    assert "no usable pair" in found.problems[0].what


def test_without_tls_nothing_is_said() -> None:
    found = looked_at(None, None)
    assert not found.facts and not found.problems


def looked_at(certificate: Path | None, key: Path | None) -> Findings:
    port = 7612 if certificate else None
    gateway = GatewaySettings(tls_port=port, tls_certificate=certificate, tls_key=key)
    found = Findings()
    _look_at_certificate("gateway", certificate_files(Settings(gateway=gateway)), found)
    return found


@pytest.mark.parametrize("away", PARTS)
def test_who_does_not_answer_while_others_run_is_a_problem(away: str) -> None:
    with running(*(part for part in PARTS if part != away)) as settings:
        found = Findings()
        _look_at_processes(settings, found, [])
    assert [f"The {away} does not answer" in each.what for each in found.problems] == [True]


def test_an_installation_at_rest_is_none() -> None:
    with running() as settings:
        found = Findings()
        _look_at_processes(settings, found, [])
    assert len(found.facts) == len(PARTS) and not found.problems


def test_nobody_answers_and_the_log_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as settings, closing(LogWriter(tmp_path)) as writer:
        found = Findings()

        def grow(_: int, **__: Any) -> None:
            writer.append(Tick(), 0)
            writer.sync()

        monkeypatch.setattr(doctor, "ask", grow)
        _look_at_processes(settings, found, [LogReader(tmp_path)])
    assert len(found.problems) == len(PARTS)


def test_one_damage_is_told_once() -> None:
    """By the look at the logs, which says what to do."""
    with running(*PARTS, worker={"ok": False, "log_damaged": True, "error": "LogCorrupt: …"}) as settings:
        found = Findings()
        _look_at_processes(settings, found, [])
    assert ("worker", "running, not well") in found.facts and not found.problems


def test_a_database_that_runs_is_left_as_it_is() -> None:
    with tempfile.TemporaryDirectory(prefix="northwatch-test-") as name:
        settings = Settings(data_dir=Path(name))
        database = Embedded(database_directory(settings))
        database.start()
        people = database.directory / "pg_ident.conf"
        people.write_text(people.read_text() + "# of another user\n")
        before = people.stat()
        _examine_database(settings, found := Findings(), [])
        assert people.stat() == before and database.is_running()
        assert "PostgreSQL" in dict(found.facts)
        database.stop()


@contextmanager
def running(*parts: str, **says: dict[str, Any]) -> Iterator[Settings]:
    """Have these parts answer, and give the settings of all."""
    with ExitStack() as stack:
        ports = dict(zip(PARTS, reserve(len(PARTS)), strict=True))
        for part in parts:
            said = says.get(part, {"ok": True})
            stack.enter_context(closing(Endpoint(ports[part], lambda said=said: said, CollectorRegistry())))
        yield Settings(
            gateway=GatewaySettings(health_port=ports["gateway"]),
            worker=WorkerSettings(health_port=ports["worker"]),
            keeper=KeeperSettings(health_port=ports["keeper"]),
            monitor=MonitorSettings(port=ports["monitor"]),
        )

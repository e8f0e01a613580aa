"""What `northwatch doctor` says about the gateway's certificate."""

from pathlib import Path

import pytest

from northwatch.config import GatewaySettings, Settings
from northwatch.doctor import Findings, _look_at_certificate
from tests.gateway.authority import Authority


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
    _look_at_certificate(Settings(gateway=gateway), found)
    return found

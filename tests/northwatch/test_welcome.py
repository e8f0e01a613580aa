"""What `northwatch up` says first, on a terminal of usual width."""

import io

import pytest

from northwatch.config import MonitorSettings, Settings
from northwatch.screen import Screen
from northwatch.up import _welcome


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
def test_passwords_in_clear_are_told_to_who_starts_it(host: str) -> None:
    screen = Screen(file=io.StringIO(), width=80, soft_wrap=True)
    screen.print(_welcome(Settings(monitor=MonitorSettings(host=host)), "secret", None))
    assert isinstance(screen.file, io.StringIO)
    said = screen.file.getvalue()
    told = (
        "in clear",
        "passwords and the page cross the network",
        "tls_certificate, or put a proxy that has one",
    )
    assert [each in said for each in told] == [host == "0.0.0.0"] * len(told)
    assert "secret" in said

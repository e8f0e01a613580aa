"""Authentication codes."""

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.credentials import Credentials, load_secret

IDENTITIES = st.text("0123456789ABCDEF", min_size=1, max_size=20)


@given(IDENTITIES, IDENTITIES, st.integers(0, 5), st.integers(0, 5))
def test_a_code_is_good_for_one_terminal_and_epoch(one: str, other: str, epoch: int, later: int) -> None:
    credentials = Credentials(bytes(32))
    code = credentials.code(one, epoch)
    assert len(code) == 16 and code.isascii() and code.isalnum()
    assert credentials.accepts(one, code, epoch)
    assert credentials.accepts(other, code, later) == ((one, epoch) == (other, later))
    assert not Credentials(b"\1" * 32).accepts(one, code, epoch)


@given(st.text())
def test_anything_may_be_given_as_a_code(code: str) -> None:
    assert not Credentials(bytes(32)).accepts("1", code)


def test_the_secret_stays_and_is_for_the_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    secret = load_secret(path)
    assert len(secret) == 32 and load_secret(path) == secret != load_secret(tmp_path / "other")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(tmp_path.iterdir()) == [tmp_path / "other", path]


@pytest.mark.parametrize("content", ["", "12", "no hex at all", "ab" * 31])
def test_a_damaged_secret_stops_the_start_and_says_what_to_do(tmp_path: Path, content: str) -> None:
    path = tmp_path / "secret"
    path.write_text(content)
    with pytest.raises(OSError, match="secret must hold 64 hex digits: restore it"):
        load_secret(path)
    assert path.read_text() == content

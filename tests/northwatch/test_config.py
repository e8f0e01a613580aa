"""Settings: what wins, and that every wrong one says which, from where, what it was and what is allowed."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from northwatch.config import ConfigError, MonitorSettings, Settings, load, without_password
from tickets.policy import TicketPolicy
from tickets.silence import SilencePolicy

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _no_settings_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("NORTHWATCH_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def error_of(config: Path | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(config)
    return str(caught.value)


def test_defaults_need_nothing(tmp_path: Path) -> None:
    settings = load()
    assert settings.gateway.port == 7611
    assert settings.monitor.port == 8080
    assert settings.database_url is None
    assert settings.data_dir == tmp_path / "data"


def test_a_variable_wins_over_the_file_and_the_file_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        tmp_path / "northwatch.toml", "[gateway]\nport = 7000\npolicy = 'known'\n[silence]\nmoving_s = 90\n"
    )
    monkeypatch.setenv("NORTHWATCH_GATEWAY__PORT", "7001")
    settings = load()
    assert settings.gateway.port == 7001
    assert settings.gateway.policy == "known"
    assert settings.silence.moving_s == 90
    assert settings.silence.model_fields_set == {"moving_s"}


def test_the_file_may_be_named_by_option_or_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = write(tmp_path / "a.toml", "[gateway]\nport = 7002\n")
    chosen = write(tmp_path / "b.toml", "[gateway]\nport = 7003\n")
    monkeypatch.setenv("NORTHWATCH_CONFIG", str(named))
    assert load().gateway.port == 7002
    assert load(chosen).gateway.port == 7003


def test_a_wrong_value_names_key_source_value_and_what_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "site.toml", "[gateway]\npolicy = 'closed'\n")
    monkeypatch.setenv("NORTHWATCH_MONITOR__PORT", "99999")
    message = error_of(path)
    assert f"gateway.policy ({path}) = 'closed': input should be 'open' or 'known'" in message
    assert "monitor.port (NORTHWATCH_MONITOR__PORT) = '99999': input should be less than" in message


def test_unknown_keys_are_refused_with_a_guess(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "site.toml", "data_dr = 'x'\n[gateway]\nprot = 1\n")
    message = error_of(path)
    assert "did you mean data_dir?" in message
    assert "did you mean port?" in message
    monkeypatch.setenv("NORTHWATCH_GATWAY__PORT", "1")
    assert "did you mean gateway?" in error_of()


def test_a_group_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NORTHWATCH_SILENCE", "60")
    assert "NORTHWATCH_SILENCE__MOVING_S" in error_of()


def test_variables_that_a_container_platform_injects_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NORTHWATCH_PORT", "tcp://10.0.0.7:7611")
    monkeypatch.setenv("NORTHWATCH_SERVICE_HOST", "10.0.0.7")
    assert load().gateway.port == 7611


@pytest.mark.parametrize(
    ("name", "value"),
    [("LOG_URL", "nats://log:4222"), ("MQTT_URL", "http://broker"), ("DATABASE_URL", "mysql://db")],
)
def test_what_this_version_cannot_use_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"NORTHWATCH_{name}", value)
    message = error_of()
    assert f"{name.lower()} (NORTHWATCH_{name}) = {value!r}" in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://me:secret@db/x"),
        ("MQTT_URL", "amqp://me:secret@broker"),
        ("MQTT_URL", "mqtt://me:se@cret@broker/path"),
        ("MQTT_URL", "mqtt://me:/secret@broker"),
        ("MQTT_URL", "mqtt://:secret@broker"),
    ],
)
def test_passwords_are_not_repeated(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"NORTHWATCH_{name}", value)
    assert "secret" not in error_of()
    assert without_password("postgresql://me:secret@db/x") == "postgresql://me:…@db/x"
    assert without_password("host=db password='a b' user=me") == "host=db password=… user=me"


def test_two_listeners_on_one_port_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NORTHWATCH_GATEWAY__PORT", "8080")
    assert "monitor.port and gateway.port are both 8080" in error_of()


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("PROXY_NETWORKS", "10.0.0.1/8", "= '10.0.0.1/8': allowed are networks as 10.0.0.0/8"),
        ("EXEMPT_NETWORKS", "nonsense", "= 'nonsense': allowed are networks as 10.0.0.0/8"),
        ("EXEMPT_NETWORKS", "[10.0.0.0/8]", "= '[10.0.0.0/8]': allowed are a list as"),
        ("TLS_PORT", "7612", "gateway.tls_port = 7612: needs gateway.tls_certificate"),
        ("TLS_KEY", "/a.key", "gateway.tls_key = '/a.key': is for gateway.tls_port"),
        ("HOST", ",", "gateway.host (NORTHWATCH_GATEWAY__HOST) = ',': "),
        ("UDP_PORT", "0", "gateway.udp_port (NORTHWATCH_GATEWAY__UDP_PORT) = '0': "),
    ],
)
def test_wrong_ways_in_are_told(monkeypatch: pytest.MonkeyPatch, key: str, value: str, told: str) -> None:
    monkeypatch.setenv(f"NORTHWATCH_GATEWAY__{key}", value)
    assert told in error_of()


def test_a_variable_lists_with_commas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = '[gateway]\nhost = ["10.0.0.1", "::1"]\nproxy_networks = "10.0.0.0/8"\nudp_port = 7611'
    gateway = load(write(tmp_path / "x.toml", text)).gateway
    assert gateway.host == ("10.0.0.1", "::1") and gateway.udp_port == gateway.port
    monkeypatch.setenv("NORTHWATCH_GATEWAY__HOST", "::")
    monkeypatch.setenv("NORTHWATCH_GATEWAY__PROXY_NETWORKS", "10.0.0.0/8, 2001:db8::/32")
    monkeypatch.setenv("NORTHWATCH_MONITOR__TRUSTED_ORIGINS", "https://a.example,https://b.example")
    settings = load()
    assert settings.gateway.host == ("::",)
    assert [str(network) for network in settings.gateway.proxy_networks] == ["10.0.0.0/8", "2001:db8::/32"]
    assert settings.monitor.trusted_origins == ("https://a.example", "https://b.example")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", []),
        (" [ ] ", []),
        ('["10.0.0.0/8", "::1"]', ["10.0.0.0/8", "::1/128"]),
        ("10.0.0.0/8", ["10.0.0.0/8"]),
    ],
)
def test_a_variable_lists_as_the_file_does(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: list[str]
) -> None:
    monkeypatch.setenv("NORTHWATCH_GATEWAY__EXEMPT_NETWORKS", text)
    monkeypatch.setenv("NORTHWATCH_MONITOR__TRUSTED_ORIGINS", "[]")
    settings = load(None)
    assert [str(network) for network in settings.gateway.exempt_networks] == expected
    assert settings.monitor.trusted_origins == ()


def test_a_log_that_holds_no_two_segments_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NORTHWATCH_LOG__QUOTA_BYTES", str(100 << 20))
    assert "four segments" in error_of()
    monkeypatch.setenv("NORTHWATCH_LOG__SEGMENT_BYTES", str(1 << 20))
    assert load().log.quota_bytes == 100 << 20


def test_broken_and_missing_files_are_told(tmp_path: Path) -> None:
    assert "is no TOML" in error_of(write(tmp_path / "x.toml", "[gateway\n"))
    assert "cannot be read" in error_of(tmp_path / "missing.toml")


def test_a_wrong_setting_stops_the_start_without_a_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "northwatch", "up"],
        env={**os.environ, "NORTHWATCH_GATEWAY__POLICY": "maybe"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "NORTHWATCH_GATEWAY__POLICY" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_documentation_lists_every_setting() -> None:
    made = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate_configuration.py"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    written = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    assert made.stdout == written, "run: python docs/generate_configuration.py > docs/configuration.md"


def test_thresholds_are_those_of_the_policies() -> None:
    """The defaults are written twice, so that reading the settings need not import the rooms."""
    silence, tickets, settings = SilencePolicy(), TicketPolicy(), load().silence
    for name in type(settings).model_fields:
        policy = silence if hasattr(silence, name) else tickets
        assert getattr(settings, name) == getattr(policy, name), name


@pytest.mark.parametrize(
    ("settings", "is_in_clear"),
    [
        ({}, True),
        ({"host": "192.0.2.1"}, True),
        ({"host": "127.0.0.1"}, False),
        ({"host": "::1"}, False),
        ({"host": "localhost"}, False),
        ({"secure_cookie": True}, False),
        ({"tls_certificate": "page.crt", "tls_key": "page.key"}, False),
    ],
)
def test_a_page_in_clear_is_known(settings: dict[str, Any], is_in_clear: bool) -> None:
    assert MonitorSettings(**settings).is_in_clear == is_in_clear


def test_a_certificate_needs_its_key() -> None:
    with pytest.raises(ValidationError, match="one needs the other"):
        Settings(monitor=MonitorSettings(tls_certificate=Path("page.crt")))

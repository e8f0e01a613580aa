"""What a URL, a prefix and a row become, without a broker."""

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from northwatch.events import messages
from northwatch.events.broker import Broker, check_prefix, parse

AT = datetime(2026, 6, 1, 12, tzinfo=timezone(timedelta(hours=8)))
SHANGHAI = "2026-06-01T04:00:00.000000Z"


@pytest.mark.parametrize(
    ("url", "broker"),
    [
        ("mqtt://broker", Broker("broker", 1883)),
        ("mqtts://broker/", Broker("broker", 8883, tls=True)),
        ("mqtt://li:p%40ss@[2001:db8::1]:1884", Broker("2001:db8::1", 1884, "li", "p@ss")),
        ("mqtt://li@broker", Broker("broker", 1883, "li")),
    ],
)
def test_a_url_names_a_broker(url: str, broker: Broker) -> None:
    assert parse(url) == broker
    assert "p@ss" not in f"{parse(url)} {parse(url)!r}"


@given(st.text(max_size=40) | st.from_regex(r"mqtts?://[^ ]{0,30}"))
def test_any_text_is_a_broker_or_refused_without_repeating_it(url: str) -> None:
    try:
        assert 0 < parse(url).port < 65536
    except ValueError as error:
        assert str(error).startswith("allowed is mqtt://")


@pytest.mark.parametrize("prefix", ["northwatch", "fleet/北斗", "a/b/c"])
def test_topics_may_begin_so(prefix: str) -> None:
    assert check_prefix(prefix) == prefix


@pytest.mark.parametrize("prefix", ["", "/a", "a/", "a//b", "a/#", "+", "$SYS", "a b", "a\n", "x" * 101])
def test_topics_may_not_begin_so(prefix: str) -> None:
    with pytest.raises(ValueError, match="allowed"):
        check_prefix(prefix)


def alarm(**more: Any) -> dict[str, Any]:
    row = {
        "kind": "alarm",
        "id": 7,
        "subject_id": 3,
        "identity": "13912345678",
        "vehicle": None,
        "condition": "overspeed",
        "object": "",
        "edition": "2013",
        "severity": 2,
        "ends": "by_terminal",
        "began_at": AT,
        "lat": 41.8,
        "lon": 123.4,
        "speed_kmh": 99.5,
    }
    return row | more


def test_an_event_says_what_happened() -> None:
    message = messages.event("n", alarm(at=AT, change="raised", detail={}, by=None))
    said = json.loads(message.payload)
    assert (message.topic, message.retain) == ("n/events/13912345678/alarm", False)
    assert (said["v"], said["id"], said["event"], said["at"]) == (1, "alarm-7", "alarm.raised", SHANGHAI)
    assert said["alarm"]["id"] == 3 and said["alarm"]["began_at"] == SHANGHAI
    assert said["alarm"]["names"] == {"zh": "超速报警", "en": "overspeed"}


@pytest.mark.parametrize(("change", "name"), [("opened", "link.opened"), ("idle", "link.closed")])
def test_a_link_begins_or_ends(change: str, name: str) -> None:
    session = 2**62 + 1
    row = {"kind": "link", "id": 1, "identity": "A", "at": AT, "change": change, "session": session}
    said = json.loads(messages.event("n", row | {"peer": "", "vehicle": None}).payload)
    assert (said["event"], said["session"], said["peer"]) == (name, str(session), None)
    assert said["reason"] == (None if change == "opened" else change)


def test_a_state_goes_when_the_thing_is_closed() -> None:
    desk = {"desk": "free", "taken_by": None, "handled_by": None, "result": None}
    is_open, is_over = (messages.state("n", alarm(is_open=each, **desk)) for each in (True, False))
    assert is_open.topic == is_over.topic == "n/terminals/13912345678/alarms/7"
    assert is_open.retain and is_over.retain
    assert json.loads(is_open.payload)["desk"] == "free" and is_over.payload == b""


@given(st.datetimes(timezones=st.just(UTC)))
def test_times_are_in_utc_and_all_of_one_length(at: datetime) -> None:
    said = json.loads(messages.platform("n", True, "complete", at).payload)["at"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", said)
    assert datetime.fromisoformat(said) == at

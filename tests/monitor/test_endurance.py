"""How long the log holds: room by rate, and silence where nobody can say."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from monitor.gateways import together
from monitor.health import endures_s, judge
from store.endurance import LEAST_S, WINDOW_S, Endurance


def log(durable: int, used: int = 0, quota: int = 1000, free: int = 10_000, floor: int = 0) -> dict[str, Any]:
    return {
        "durable": durable,
        "used_bytes": used,
        "quota_bytes": quota,
        "free_bytes": free,
        "free_floor_bytes": floor,
    }


@given(st.integers(1, 10**6), st.integers(0, 10**12), st.integers(0, 10**12))
def test_room_is_the_smaller_of_quota_and_disk(rate: int, quota: int, free: int) -> None:
    endurance = Endurance()
    assert endures_s(endurance, log(0, quota=quota, free=free), 0.0) is None
    found = endures_s(endurance, log(round(rate * LEAST_S), quota=quota, free=free), LEAST_S)
    assert found is not None and abs(found - min(quota, free) / rate) <= 1e-6 * max(1.0, found)


def test_the_rate_is_that_of_the_window() -> None:
    endurance = Endurance()
    written = 0
    for second in range(0, round(3 * WINDOW_S), 10):
        written += 1000 if second < 2 * WINDOW_S else 10
        found = endures_s(endurance, log(written), float(second))
    assert found is not None and abs(found - 1000.0) < 20


def test_health_says_how_long_while_the_database_is_away() -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    away = judge({"ok": True}, {}, None, {}, now, keeper={}, events={}, holds_s=9000.0)
    assert [each["code"] for each in away["problems"]] == ["database_unreachable", "log_holds"]
    assert "2.5" in away["problems"][1]["en"] and "2.5" in away["problems"][1]["zh"]
    assert away["parts"]["log"]["detail"]["holds_s"] == 9000
    well = judge(
        {"ok": True},
        {"ok": True},
        {"version": "", "size_bytes": 1, "timescaledb": None, "log_time": None}
        | {"quarantined_last_hour": 0, "quarantine_only_counted": 0, "quarantine_bytes": 0},
        {},
        now,
        keeper={},
        events={},
        holds_s=9000.0,
    )
    assert not well["problems"]


def test_nobody_can_say_without_a_rate() -> None:
    endurance = Endurance()
    assert endures_s(endurance, {}, 0.0) is None
    assert endures_s(endurance, log(5), 1.0) is None
    assert endures_s(endurance, log(5), 100.0) is None, "nothing comes"
    assert endures_s(endurance, log(3), 200.0) is None, "another log"
    assert endures_s(endurance, log(40, used=2000), 300.0) == 0.0
    assert endures_s(endurance, {"durable": "many"}, 400.0) is None
    assert endures_s(endurance, log(90), 401.0) is None, "what was before is forgotten"


def test_what_gateways_say_counts_until_we_know() -> None:
    said = [{"ok": True, "log": log(5) | {"holds_s": holds_s}} for holds_s in (None, 500, 300)]
    gateway = together(said)
    assert gateway is not None and gateway["log"]["holds_s"] == 300
    assert endures_s(Endurance(), gateway["log"], 0.0) == 300
    nobody = together(said[:1] * 2)
    assert nobody is not None and endures_s(Endurance(), nobody["log"], 0.0) is None


def test_a_stopped_clock_and_one_set_back_give_no_rate() -> None:
    endurance = Endurance()
    for now_s in (0.0, 0.4, 0.9, 30.0, 10.0):
        endurance.note(now_s, now_s)
    assert endurance.holds_s(100.0) is None

"""Several gateway processes are shown as one."""

from datetime import UTC, datetime

from monitor.gateways import together
from monitor.health import judge

ONE = {
    "ok": True,
    "fault": "",
    "sessions": 3,
    "reading": True,
    "sync_ms": 0.5,
    "tls": None,
    "fleet": {"terminals": 5, "fault": ""},
    "lobby": {"waiting": 7, "most": 8, "is_full": False},
    "log": {"used_bytes": 10, "quota_bytes": 100, "free_bytes": 7, "fault": "", "is_full": False},
}
OTHER = {
    **ONE,
    "ok": False,
    "fault": "no disk",
    "sync_ms": 0.25,
    "log": {"used_bytes": 90, "quota_bytes": 100, "free_bytes": 6, "fault": "no disk", "is_full": True},
}


def test_figures_are_added_and_the_worst_counts() -> None:
    said = together([ONE, OTHER])
    assert said is not None
    assert (said["ok"], said["fault"], said["sessions"], said["sync_ms"]) == (False, "no disk", 6, 0.5)
    assert said["log"] == {
        "used_bytes": 100,
        "quota_bytes": 200,
        "free_bytes": 6,
        "fault": "no disk",
        "is_full": True,
    }
    assert (said["processes"], said["missing"]) == (2, 0)
    assert said["lobby"] == ONE["lobby"], "they share one"


def test_one_process_says_what_it_says() -> None:
    assert together([ONE]) == ONE
    assert together([None]) is None and together([None, None]) is None


def test_a_missing_process_is_a_warning() -> None:
    health = judge(together([ONE, None]), {}, None, {}, datetime.now(UTC), keeper={}, events={})
    assert "gateway_process_unreachable" in [problem["code"] for problem in health["problems"]]
    assert health["parts"]["gateway"]["state"] == "degraded"

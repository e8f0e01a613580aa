"""What a repair ticket shows of the terminal as it was before the fault. Pure: from arrays to JSON."""

from datetime import UTC, datetime
from typing import Any

from alerts.bits import EDITIONS
from protocol.words import ALARMS, STATUSES
from tickets.policy import Reason
from tickets.silence import NEVER, Mode
from worker.fleet import Fleet


def evidence(fleet: Fleet, index: int, reason: Reason) -> dict[str, Any]:
    """Give the evidence of a silent terminal. The database adds its link history."""
    terminal = fleet.terminals[index]
    return {
        "reason": {"code": reason.code, "params": dict(reason.params)},
        "mode": Mode(int(fleet.silence.mode[index])).text,
        "last_heard_at": _time(fleet.silence.heard_us[index]),
        "last_fix": _last_fix(terminal),
        "last_report": _last_report(terminal),
        "last_frames": [
            {
                "received_at": _time(each.received_us),
                "msg_id": f"0x{each.data[:2].hex().upper()}",
                "hex": each.data.hex(),
                "size_bytes": each.length,
            }
            for each in fleet.last_frames(index)
        ],
    }


def _last_fix(terminal: Any) -> dict[str, Any] | None:
    if terminal["fix_us"] == NEVER:
        return None
    return {
        "at": _time(terminal["fix_us"]),
        "lat": round(float(terminal["lat"]), 6),
        "lon": round(float(terminal["lon"]), 6),
    }


def _last_report(terminal: Any) -> dict[str, Any] | None:
    if terminal["received_us"] == NEVER:
        return None
    edition = EDITIONS[terminal["edition"]]
    alarm_bits, status_bits = int(terminal["alarm_bits"]), int(terminal["status_bits"])
    return {
        "reported_at": _time(terminal["reported_us"]),
        "received_at": _time(terminal["received_us"]),
        "speed_kmh": round(float(terminal["speed_kmh"]), 1),
        "heading_deg": int(terminal["heading_deg"]),
        "altitude_m": int(terminal["altitude_m"]),
        "alarm_bits": f"0x{alarm_bits:08X}",
        "alarms": [bit.name for bit in ALARMS[edition].values() if alarm_bits >> bit.bit & 1],
        "status_bits": f"0x{status_bits:08X}",
        "statuses": [bit.name for bit in STATUSES[edition].values() if bit.value(status_bits)],
    }


def _time(us: Any) -> str | None:
    if us == NEVER:
        return None
    return (
        datetime.fromtimestamp(int(us) / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )

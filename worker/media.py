"""Media (0x0801) as facts: what their bodies say beside the content."""

from datetime import datetime
from typing import Any, Final

from store.media import WHOLE, Medium
from store.messages import Message
from store.times import to_us

MEDIUM: Final = 0x0801
POSITIONED: Final = 1 << 1
"""状态位 1 定位: the coordinates are those of a fix."""


def medium_of(message: Message, body: dict[str, Any], *, is_joined: bool = False) -> Medium:
    """Give the medium that a 0x0801 brought; `body` is the message as fields. In 2011 it may be one packet,
    or all packets that were joined.
    """
    content = bytes.fromhex(body["media_data"])
    place = body.get("location") or {}
    time, status = place.get("time"), place.get("status")
    has_fix = bool(status and status & POSITIONED)
    return Medium(
        terminal_id=message.terminal_id,
        received_us=message.received_us,
        reported_us=to_us(time) if isinstance(time, datetime) else None,
        media_id=body["media_id"],
        kind=body["media_type"],
        format=body["media_format"],
        event=body["event_code"],
        channel=body["channel_id"],
        part=WHOLE if is_joined else body.get("package_index", 1),
        parts=body.get("package_total", 1),
        fix=(place["latitude"], place["longitude"]) if has_fix else None,
        speed_kmh=place.get("speed_kmh"),
        alarm_bits=place.get("alarm"),
        status_bits=status,
        serial=message.serial,
        edition=message.edition,
        head=message.body[: len(message.body) - len(content)],
        content=content,
        log_id=message.log_id,
        position=message.position,
        ordinal=message.ordinal,
    )

"""位置信息类消息: location reports. 2013 §8.18 and §8.49."""

from datetime import datetime
from typing import Any

from construct import Computed, Construct, Default, GreedyRange, Int8ub, Int16ub, Int32ub, Struct, len_, this

from protocol.adapters import BcdTime, Scaled
from protocol.body import Embedded
from protocol.edition import Edition
from protocol.items import ItemChain
from protocol.message import UP, message
from protocol.words import ACC_ON, POSITIONED, SOUTH, WEST

LOCATION = Struct(
    "alarm" / Int32ub * "报警标志 alarm word, protocol.words.ALARMS",
    "status" / Int32ub * "状态 status word, protocol.words.STATUSES",
    "latitude_raw" / Int32ub * "纬度 latitude, 1e-6 degree without sign; south by status bit 2",
    "longitude_raw" / Int32ub * "经度 longitude, 1e-6 degree without sign; west by status bit 3",
    "altitude_m" / Int16ub * "高程 altitude",
    "speed_kmh" / Scaled(Int16ub, 10) * "速度 speed, 0.1 km/h on the wire",
    "direction_deg" / Int16ub * "方向 heading, 0 to 359 clockwise from north",
    "time" / BcdTime * "时间 time, GMT+8",
)
"""位置基本信息: the 28 bytes at the head of every location report, in all three editions.

The prints of 2013 and 2019 put the time at byte 21; by the sizes of the fields it is 22, as 2011 prints.
"""


def degrees(raw: str, negative: int) -> Construct:
    """Give a coordinate in degrees, signed by a hemisphere bit of the status word; it has no bytes of its
    own."""
    return Computed(lambda this: (-1 if this.status & negative else 1) * this[raw] / 1e6)


REPORT = LOCATION + Struct(
    "latitude" / degrees("latitude_raw", SOUTH) * "纬度 latitude in degrees",
    "longitude" / degrees("longitude_raw", WEST) * "经度 longitude in degrees",
    "extras" / ItemChain() * "位置附加信息项列表 additional items",
)
"""A whole location report: the 28 bytes and the additional items."""


def location(
    lat: float, lon: float, time: datetime, *, status: int = ACC_ON | POSITIONED, **fields: Any
) -> dict[str, Any]:
    """Give the fields of a location report from signed degrees.

    `fields` may name altitude_m, speed_kmh, direction_deg, alarm and extras. The hemisphere bits of
    `status` are set from the signs of `lat` and `lon`.
    """
    hemispheres = (SOUTH if lat < 0 else 0) | (WEST if lon < 0 else 0)
    return {
        "alarm": 0,
        "status": status & ~(SOUTH | WEST) | hemispheres,
        "latitude_raw": round(abs(lat) * 1e6),
        "longitude_raw": round(abs(lon) * 1e6),
        "altitude_m": 0,
        "speed_kmh": 0.0,
        "direction_deg": 0,
        "time": time,
        "extras": {},
    } | fields


message(0x0200, "位置信息汇报", "location report", REPORT, direction=UP, clause="8.18")
message(
    0x0704,
    "定位数据批量上传",
    "batch of location reports",
    Struct(
        "count" / Default(Int16ub, len_(this.items)) * "数据项个数 reports in this batch",
        "type" / Int8ub * "位置数据类型 0 normal, 1 from a blind zone",
        "items" / GreedyRange(Embedded(Int16ub, REPORT)) * "位置汇报数据项 length and report",
    ),
    direction=UP,
    since=Edition.E2013,
    clause="8.49",
)

"""位置信息类消息: location reports, and what is asked and confirmed about them. 2013 §8.18 to §8.22 and
§8.49.
"""

from datetime import datetime
from typing import Any

from construct import Computed, Construct, Default, GreedyRange, Int8ub, Int16ub, Int32ub, Struct, len_, this

from protocol.adapters import BcdTime, Scaled, Trailing
from protocol.body import Embedded
from protocol.edition import Edition
from protocol.items import ItemChain
from protocol.message import DOWN, EMPTY, UP, message
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
    own.
    """
    return Computed(lambda this: signed(this, raw, is_negative=bool(this.status & negative)) / 1e6)


def signed(this: Any, raw: str, *, is_negative: bool) -> int:
    """Give a coordinate with its sign: by the hemisphere bit, or as two's complement where the terminal's
    profile says so.
    """
    profile = this._params.get("profile")
    if profile and profile.signed_coordinates and this[raw] >= 1 << 31:
        return int(this[raw]) - (1 << 32)
    return -int(this[raw]) if is_negative else int(this[raw])


FIX = LOCATION + Struct(
    "latitude" / degrees("latitude_raw", SOUTH) * "纬度 latitude in degrees",
    "longitude" / degrees("longitude_raw", WEST) * "经度 longitude in degrees",
)
"""The 28 bytes and what follows from them: how other messages carry where they come from."""

REPORT = FIX + Struct("extras" / ItemChain() * "位置附加信息项列表 additional items")
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


message(
    0x0200,
    "位置信息汇报",
    "location report",
    REPORT,
    direction=UP,
    clause="2011 §8.12, 2013 §8.18, 2019 §8.21",
)
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
    clause="2013 §8.49, 2019 §8.48",
)
message(
    0x8201, "位置信息查询", "ask for the location", EMPTY, direction=DOWN, answer=0x0201, clause="2013 §8.19"
)
message(
    0x0201,
    "位置信息查询应答",
    "location as asked for",
    {
        Edition.E2011: REPORT,  # without the serial of the query
        Edition.E2013: Struct(
            "ack_serial" / Int16ub * "应答流水号 serial of the query",
            "location" / REPORT * "位置信息汇报 report",
        ),
    },
    direction=UP,
    clause="2011 §8.14, 2013 §8.20, 2019 §8.23",
)
message(
    0x8202,
    "临时位置跟踪控制",
    "follow for a while",
    Struct(
        "interval_s" / Int16ub * "时间间隔 between reports; 0 stops, and nothing follows then",
        "validity_s" / Trailing(Int32ub) * "位置跟踪有效期 for how long",
    ),
    direction=DOWN,
    clause="2013 §8.21, 2019 §8.24",
)
message(
    0x8203,
    "人工确认报警消息",
    "confirm alarms",
    Struct(
        "alarm_serial" / Int16ub * "报警消息流水号 serial of the report; 0 all of these kinds",
        "alarm_type" / Int32ub * "人工确认报警类型 bits 0, 3, 20, 21, 22, 27, 28 of the alarm word",
    ),
    direction=DOWN,
    since=Edition.E2013,
    clause="2013 §8.22, 2019 §8.25",
)
message(0x8204, "链路检测", "probe the link", EMPTY, direction=DOWN, since=Edition.E2019, clause="2019 §8.26")

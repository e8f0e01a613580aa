"""位置信息类消息: location reports. JT/T 808-2019 §8.18."""

from construct import Int16ub, Int32ub, Struct

from protocol.adapters import BcdTime, Scaled

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
"""位置基本信息: the 28 bytes at the head of every location report, in all three editions."""

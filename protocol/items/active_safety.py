"""Additional items 0x64 to 0x67: active-safety alarms of T/JSATL 12-2017 §4.4 and T/GDRTA 002-2020 §5.4.

The provinces' dialects (苏标, 粤标 …) differ in the width of the alarm identifier (报警标识号), which the
item's length gives away: the first dialect whose declaration covers the item to its last byte is read.

粤标 adds items 0xF1 and 0xF2 at the end.
"""

from typing import Any, Final

from construct import (
    Adapter,
    Array,
    Computed,
    Construct,
    Int8ub,
    Int16ub,
    Int32ub,
    Rebuild,
    Select,
    Struct,
    Terminated,
    this,
)
from construct import len_ as length

from protocol.adapters import BcdTime, HexBytes, Text, as_bytes
from protocol.item import item


class _Spare(Adapter):  # type: ignore[misc]
    """预留, one byte that a standard leaves free: "00" as it should be, as all reserved bytes are hex; what
    makers put there is a number and is given as one."""

    def _decode(self, obj: int, context: Any, path: Any) -> int | str:
        return obj or "00"

    def _encode(self, obj: int | str | bytes, context: Any, path: Any) -> int:
        if isinstance(obj, int):
            return obj
        (number,) = as_bytes(obj)  # more or fewer bytes are of another dialect
        return number


Spare: Final = _Spare(Int8ub)


def identifier(terminal_id: int, **reserved: int) -> Construct:
    """Declare 报警标识号, the key under which an alarm's attachments are uploaded."""
    return Struct(
        "terminal_id" / Text(terminal_id) * "终端ID terminal",
        "time" / BcdTime * "时间 of the alarm",
        "sequence" / Int8ub * "序号 among alarms of the same second",
        "attachment_count" / Int8ub * "附件数量 attachments",
        *(
            name / (Spare if width == 1 else HexBytes(width)) * "预留 reserved"
            for name, width in reserved.items()
        ),
    )


IDENTIFIERS = {
    "苏标": identifier(7, reserved=1),
    "粤标": identifier(30, reserved1=1, reserved2=1),
    "湖南": identifier(7, reserved=17),
    "四川": identifier(30, reserved1=1),
    "黑龙江": identifier(30),
}
"""By dialect; all have different widths."""

PLACE = Struct(
    "speed_kmh" / Int8ub * "车速 speed",
    "altitude_m" / Int16ub * "高程 altitude",
    "latitude_raw" / Int32ub * "纬度 latitude, 1e-6 degree",
    "longitude_raw" / Int32ub * "经度 longitude, 1e-6 degree",
    "latitude" / Computed(this.latitude_raw / 1e6) * "纬度 latitude in degrees",
    "longitude" / Computed(this.longitude_raw / 1e6) * "经度 longitude in degrees",
    "time" / BcdTime * "日期时间 time",
    "vehicle_status"
    / Int16ub
    * "车辆状态 bits 0 ACC, 1 left, 2 right turn, 3 wiper, 4 brake, 5 card, 10 positioned",
)
HEAD = Struct(
    "alarm_id" / Int32ub * "报警ID counts all alarms",
    "flag_status" / Int8ub * "标志状态 0 has no end, 1 begins, 2 ends",
)


def event(kinds: str) -> Construct:
    """Declare the head of an alarm of one of these kinds."""
    return HEAD + Struct("event_type" / Int8ub * f"报警/事件类型 {kinds}")


def graded(kinds: str) -> Construct:
    """Declare the head of an alarm that has a level too."""
    return event(kinds) + Struct("alarm_level" / Int8ub * "报警级别 1 first, 2 second level")


ADAS = (
    "1 forward collision, 2 lane departure, 3 too close, 4 pedestrian, 5 frequent lane changes, 6 road sign "
    "exceeded, 7 obstacle, 16 road sign seen, 17 picture, 18 solid line crossed, 19 pedestrian in the aisle"
)
DSM = (
    "1 fatigue, 2 phone, 3 smoking, 4 distracted, 5 driver abnormal, 6 lens covered, 8 driving too long, "
    "10 no seat belt, 11 glasses block infrared, 12 both hands off, 13 playing with phone, 16 picture, "
    "17 another driver"
)
"""苏标 leaves DSM's kinds from 6 to 15 to the makers, 粤标 names these; 18 and 19 of ADAS are 粤标's too."""
TPMS = "bits 0 report, 1 high, 2 low pressure, 3 hot, 4 sensor, 5 unbalanced, 6 slow leak, 7 battery"
BSD = "1 behind, 2 left behind, 3 right behind"

IDENTIFIER = "报警标识号 key of the alarm's attachments"


def first_that_fits(*declarations: Construct) -> Construct:
    """Declare something that is whichever of several declarations covers all its bytes."""
    return Select(*(declaration + Terminated for declaration in declarations))


def in_every_dialect(alarm: Construct) -> Construct:
    """Declare an alarm that ends with its identifier."""
    return first_that_fits(
        *(
            alarm + PLACE + Struct("alarm_identifier" / identifier * IDENTIFIER)
            for identifier in IDENTIFIERS.values()
        )
    )


def tyres(position: Construct) -> Construct:
    """Declare the list of tyres that a TPMS alarm is about."""
    return Struct(
        "count" / Rebuild(Int8ub, length(this.items)) * "报警/事件列表总数 tyres",
        "items"
        / Array(
            this.count,
            Struct(
                "tire_position" / position * "胎压报警位置 tyre, from 0 at the left front",
                "event_type" / Int16ub * f"报警/事件类型 {TPMS}",
                "tire_pressure" / Int16ub * "胎压 kPa",
                "tire_temperature" / Int16ub * "胎温 °C",
                "battery_level" / Int16ub * "电池电量 %",
            ),
        )
        * "报警/事件信息列表 tyres",
    )


item(
    0x64,
    "高级驾驶辅助系统报警信息",
    "ADAS alarm",
    in_every_dialect(
        graded(ADAS)
        + Struct(
            "front_vehicle_speed_kmh" / Int8ub * "前车车速 speed of the vehicle in front",
            "front_distance" / Int8ub * "前车/行人距离 100 ms to the one in front",
            "deviation_type" / Int8ub * "偏离类型 1 left, 2 right",
            "road_sign_type"
            / Int8ub
            * "道路标志识别类型 1 speed, 2 height, 3 weight limit, 4 no entry, 5 no stopping",
            "road_sign_data" / Int8ub * "道路标志识别数据 what the sign says",
        )
    ),
    clause="T/JSATL 12-2017 table 4-15",
)
item(
    0x65,
    "驾驶员状态监测系统报警信息",
    "DSM alarm",
    in_every_dialect(
        graded(DSM)
        + Struct(
            "fatigue_level" / Int8ub * "疲劳程度 1 to 10",
            "reserved" / HexBytes(4) * "预留 reserved",
        )
    ),
    clause="T/JSATL 12-2017 table 4-17",
)
item(
    0x66,
    "胎压监测系统报警信息",
    "TPMS alarm",
    first_that_fits(
        *(
            HEAD + PLACE + Struct("alarm_identifier" / identifier * IDENTIFIER) + tyres(position)
            for dialect, identifier in IDENTIFIERS.items()
            # 苏标 prints the position as BYTE although its next field begins at 2; 粤标 prints BYTE[2]. Both
            # are read in every dialect.
            for position in ((Int8ub, Int16ub) if dialect in ("苏标", "湖南") else (Int16ub, Int8ub))
        )
    ),
    clause="T/JSATL 12-2017 table 4-18",
)
item(
    0x67,
    "盲区监测系统报警信息",
    "BSD alarm",
    in_every_dialect(event(BSD)),
    clause="T/JSATL 12-2017 table 4-20",
)

item(
    0xF1,
    "安装异常信息",
    "faulty installation, the maker's bits",
    Int32ub,
    clause="T/GDRTA 002-2020 table 5-14",
)
item(
    0xF2, "算法异常信息", "faulty algorithm, the maker's bits", Int32ub, clause="T/GDRTA 002-2020 table 5-14"
)

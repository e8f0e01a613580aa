"""Groups of fields that several messages share. JT/T 809-2011 §4.5.8 公共数据体."""

from typing import Any, Final

from construct import Construct, Int8ub, Int16ub, Int32ub, Prefixed, Rebuild, Struct

from protocol.adapters import Text, encode_text
from protocol.jt809.adapters import Carried, DayTime, HexId, PlatformId, UtcSeconds
from protocol.messages.location import degrees
from protocol.words import SOUTH, WEST

SOURCE: Final = (
    "source_msg_id" / HexId * "对应请求消息的子业务类型标识 sub-message id of what this answers",
    "source_serial" / Int32ub * "对应请求消息的报文序列号 serial of what this answers",
)
"""What a message of 2019 answers."""

PERIOD: Final = (
    "start_time" / UtcSeconds * "开始时间 from, UTC",
    "end_time" / UtcSeconds * "结束时间 until, UTC",
)

POSITION: Final = Struct(
    "encrypt" / Int8ub * "是否加密 1 coordinates encrypted by the map plug-in",
    "time" / DayTime * "日月年时分秒 time of the position, GMT+8",
    "longitude_raw" / Int32ub * "经度 longitude, 1e-6 degree; west by status bit 3",
    "latitude_raw" / Int32ub * "纬度 latitude, 1e-6 degree; south by status bit 2",
    "gnss_speed_kmh" / Int16ub * "速度 speed by satellites",
    "recorder_speed_kmh" / Int16ub * "行驶记录速度 speed by the recorder",
    "mileage_km" / Int32ub * "车辆当前总里程数 odometer",
    "direction" / Int16ub * "方向 heading, 0 to 359 degrees clockwise from north",
    "altitude" / Int16ub * "海拔高度 metres above the sea",
    "status" / Int32ub * "车辆状态 status word of JT/T 808",
    "alarm" / Int32ub * "报警状态 alarm word of JT/T 808",
    "longitude" / degrees("longitude_raw", WEST) * "经度 longitude in degrees",
    "latitude" / degrees("latitude_raw", SOUTH) * "纬度 latitude in degrees",
)
"""车辆定位信息数据体 of 2011, §4.5.8.1: 36 bytes."""


def _alarmed(number: int, who: str, chinese: str) -> tuple[Construct, Construct]:
    return (
        f"platform_id{number}" / PlatformId * f"{chinese}编码 {who}",
        f"alarm{number}" / Int32ub * f"{chinese}报警状态 alarm word by it, 0 none",
    )


POSITION_2019: Final = Struct(
    "encrypt" / Int8ub * "是否加密 1 coordinates encrypted by the map plug-in",
    "gnss_data" / Prefixed(Int32ub, Carried(0x0200)) * "车辆定位信息 body of a location report of JT/T 808",
    *_alarmed(1, "the enterprise's platform", "企业视频监控平台"),
    *_alarmed(2, "the prefecture's platform", "地市级平台"),
    *_alarmed(3, "the province's platform", "省级平台"),
)
"""车辆定位信息数据体 of 2019: a location report as the terminal sent it, and who raised alarms from it."""

VEHICLE_POSITION: Final = Struct("vehicle_position" / POSITION * "车辆定位信息 position")
VEHICLE_POSITION_2019: Final = Struct("vehicle_position_2019" / POSITION_2019 * "车辆定位信息 position")


def text(name: str, chinese: str, english: str, *, length: str = "", size: Any = Int32ub) -> tuple[Any, Any]:
    """Two fields: the length of a text in bytes, and the text. `length` is the name of the first one."""
    length = length or f"{name}_length"
    return (
        length / Rebuild(size, lambda context: len(encode_text(context[name]))) * f"{chinese}长度 its bytes",
        name / Text(lambda context: context[length]) * f"{chinese} {english}",
    )


ALARMED_VEHICLE: Final = (
    "plate_number" / Text(21) * "车牌号 plate",
    "plate_color" / Int8ub * "车牌颜色 JT/T 415-2006 §5.4.12",
)
"""The vehicle inside of a 2019 message whose envelope names none."""

RESULT: Final = "result"


def result(meanings: str) -> Construct:
    """One byte that says how it went."""
    return RESULT / Int8ub * f"结果 {meanings}"


HANDLING: Final = result("0 in progress, 1 done, 2 no action, 3 later")
"""报警处理结果."""

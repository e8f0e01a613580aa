"""报警类型, the alarm types of JT/T 809, which are other numbers than the alarm bits of JT/T 808. §4.5.8."""

from typing import Final, NamedTuple


class AlarmType(NamedTuple):
    """One kind of alarm as platforms name it."""

    name: str
    chinese: str


ALARM_TYPES: Final[dict[int, AlarmType]] = {
    0x0001: AlarmType("overspeed", "超速报警"),
    0x0002: AlarmType("fatigue", "疲劳驾驶报警"),
    0x0003: AlarmType("emergency", "紧急报警"),
    0x0004: AlarmType("area_entered", "进入指定区域报警"),
    0x0005: AlarmType("area_left", "离开指定区域报警"),
    0x0008: AlarmType("out_of_bounds", "越界报警"),
    0x0009: AlarmType("theft", "盗警"),
    0x000A: AlarmType("robbery", "劫警"),
    0x000B: AlarmType("route_deviation", "偏离路线报警"),
    0x000C: AlarmType("moved", "车辆移动报警"),
    0x000D: AlarmType("driving_too_long", "超时驾驶报警"),
    0x000E: AlarmType("other", "其他报警"),
    0x0010: AlarmType("illegal_driving", "违规行驶报警"),
    0x0011: AlarmType("front_collision", "前撞报警"),
    0x0012: AlarmType("lane_departure", "车道偏离报警"),
    0x0013: AlarmType("tyre_pressure", "胎压异常报警"),
    0x0014: AlarmType("dynamic_data_abnormal", "动态信息异常报警"),
    0x0101: AlarmType("video_lost", "视频信号丢失报警"),
    0x0102: AlarmType("video_covered", "视频信号遮挡报警"),
    0x0103: AlarmType("storage_failed", "存储单元故障报警"),
    0x0104: AlarmType("video_device_failed", "其他视频设备故障报警"),
    0x0105: AlarmType("overcrowded", "客车超员报警"),
    0x0106: AlarmType("abnormal_driving", "异常驾驶行为报警"),
    0x0107: AlarmType("special_recording_full", "特殊报警录像达到存储阈值报警"),
    0xA001: AlarmType("parking_too_long", "超时停车"),
    0xA002: AlarmType("report_interval_abnormal", "车辆定位信息上报时间间隔异常"),
    0xA003: AlarmType("report_distance_abnormal", "车辆定位信息上报距离间隔异常"),
    0xA004: AlarmType("platform_disconnected", "下级平台异常断线"),
    0xA005: AlarmType("platform_transfer_abnormal", "下级平台数据传输异常"),
    0xA006: AlarmType("road_blocked", "路段堵塞报警"),
    0xA007: AlarmType("road_dangerous", "危险路段报警"),
    0xA008: AlarmType("rain_or_snow", "雨雪天气报警"),
    0xA009: AlarmType("driver_identity_abnormal", "驾驶员身份识别异常"),
    0xA00A: AlarmType("terminal_abnormal", "终端异常"),
    0xA00B: AlarmType("platform_access_abnormal", "平台接入异常"),
    0xA00C: AlarmType("core_data_abnormal", "核心数据异常"),
    0xA0FF: AlarmType("other_by_platform", "其他报警"),
}
"""By the code of `warn_type`. 0x0101 to 0x0107 are of JT/T 1078-2016 table 38."""

"""Parameters of active safety: T/JSATL 12-2017 §4.3 (苏标) and T/GDRTA 002-2020 §5.3 (粤标).

The provinces agree on the fields that are declared here. What 粤标 and others add behind them, in a place
that 苏标 reserves, stays in `rest`. 0xFF, 0xFFFF and 0xFFFFFFFF leave a setting as it is.
"""

from construct import Construct, Int8ub, Int16ub, Int32ub, Struct

from protocol.adapters import HexBytes, Text
from protocol.parameter import parameter

CAMERA = (
    "speed_threshold_kmh" / Int8ub * "报警判断速度阈值 alarms only above",
    "volume" / Int8ub * "报警提示音量 0 mute to 8",
    "photo_strategy" / Int8ub * "主动拍照策略 0 none, 1 by time, 2 by distance, 3 by card (DSM)",
    "photo_interval_s" / Int16ub * "主动定时拍照时间间隔 between pictures by time",
    "photo_distance_m" / Int16ub * "主动定距拍照距离间隔 between pictures by distance",
    "photo_count" / Int8ub * "单次主动拍照张数 pictures at a time",
    "photo_gap" / Int8ub * "单次主动拍照时间间隔 between them, 100 ms",
    "photo_resolution"
    / Int8ub
    * "拍照分辨率 1 352x288, 2 704x288, 3 704x576, 4 640x480, 5 1280x720, 6 1920x1080",
    "video_resolution" / Int8ub * "视频录制分辨率 1 CIF, 2 HD1, 3 D1, 4 WD1, 5 VGA, 6 720P, 7 1080P",
    "alarm_enable" / Int32ub * "报警使能 alarms that are on, a bit for each and each level",
    "event_enable" / Int32ub * "事件使能 events that are on: bit 0 road signs or driver changes, 1 pictures",
)


def evidence(alarm: str, chinese: str) -> tuple[Construct, ...]:
    """What an alarm records."""
    return (
        f"{alarm}_video_s" / Int8ub * f"{chinese}报警前后视频录制时间 video before and after, 0 none",
        f"{alarm}_photos" / Int8ub * f"{chinese}报警拍照张数 pictures, 0 none",
        f"{alarm}_photo_gap" / Int8ub * f"{chinese}报警拍照间隔 between them, 100 ms",
    )


def graded(alarm: str, chinese: str) -> tuple[Construct, ...]:
    """An alarm that is of level 2 above a speed, and what it records."""
    level = f"{alarm}_level_speed_kmh" / Int8ub * f"{chinese}报警分级速度阈值 level 2 above"
    return (level, *evidence(alarm, chinese))


parameter(
    0xF364,
    "高级驾驶辅助系统参数",
    "ADAS",
    Struct(
        *CAMERA,
        "reserved" / Int8ub * "预留 reserved",
        "obstacle_distance" / Int8ub * "障碍物报警距离阈值 100 ms",
        *graded("obstacle", "障碍物"),
        "lane_change_period_s" / Int8ub * "频繁变道报警判断时间段 time in which they count",
        "lane_change_count" / Int8ub * "频繁变道报警判断次数 how many",
        *graded("lane_change", "频繁变道"),
        *graded("lane_departure", "车道偏离"),
        "forward_collision_time" / Int8ub * "前向碰撞报警时间阈值 100 ms",
        *graded("forward_collision", "前向碰撞"),
        "pedestrian_time" / Int8ub * "行人碰撞报警时间阈值 100 ms",
        "pedestrian_speed_kmh" / Int8ub * "行人碰撞报警使能速度阈值 only below",
        *evidence("pedestrian", "行人碰撞"),
        "headway_distance" / Int8ub * "车距监控报警距离阈值 100 ms",
        *graded("headway", "车距过近"),
        "road_sign_photos" / Int8ub * "道路标志识别拍照张数 pictures, 0 none",
        "road_sign_photo_gap" / Int8ub * "道路标志识别拍照间隔 between them, 100 ms",
    ),
    clause="T/JSATL 12-2017 table 4-10, T/GDRTA 002-2020 table 5-10",
)
parameter(
    0xF365,
    "驾驶员状态监测系统参数",
    "driver monitoring",
    Struct(
        *CAMERA,
        "smoking_interval_s" / Int16ub * "吸烟报警判断时间间隔 one alarm in this time",
        "phone_interval_s" / Int16ub * "接打电话报警判断时间间隔 one alarm in this time",
        "reserved" / HexBytes(3) * "预留 reserved",
        *graded("fatigue", "疲劳驾驶"),
        *graded("phone", "接打电话"),
        *graded("smoking", "抽烟"),
        *graded("distraction", "分神驾驶"),
        *graded("abnormal", "驾驶行为异常"),
        "identification"
        / Int8ub
        * "驾驶员身份识别触发 0 none, 1 by time, 2 by distance, 3 by card and driving",
    ),
    clause="T/JSATL 12-2017 table 4-11, T/GDRTA 002-2020 table 5-11",
)
parameter(
    0xF366,
    "胎压监测系统参数",
    "tyre pressure monitoring",
    Struct(
        "tyre" / Text(12) * "轮胎规格型号 tyre",
        "pressure_unit" / Int16ub * "胎压单位 0 kg/cm2, 1 bar, 2 kPa, 3 PSI",
        "pressure" / Int16ub * "正常胎压值 as it should be",
        "imbalance_percent" / Int16ub * "胎压不平衡门限 of the cold pressure",
        "slow_leak_percent" / Int16ub * "慢漏气门限 of the cold pressure",
        "low_pressure" / Int16ub * "低压阈值 low below",
        "high_pressure" / Int16ub * "高压阈值 high above",
        "high_temperature_c" / Int16ub * "高温阈值 hot above",
        "voltage_percent" / Int16ub * "电压阈值 battery low below",
        "report_interval_s" / Int16ub * "定时上报时间间隔 between reports, 0 none",
    ),
    clause="T/JSATL 12-2017 table 4-12, T/GDRTA 002-2020 table 5-12",
)
parameter(
    0xF367,
    "盲区监测系统参数",
    "blind spot monitoring",
    Struct(
        "rear_time_s" / Int8ub * "后方接近报警时间阈值 from behind",
        "side_time_s" / Int8ub * "侧后方接近报警时间阈值 from beside",
    ),
    clause="T/JSATL 12-2017 table 4-13, T/GDRTA 002-2020 table 5-13",
)
parameter(
    0xF370, "智能视频协议版本信息", "version of the dialect", Int8ub, clause="T/GDRTA 002-2020 table 5-9"
)

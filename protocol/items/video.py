"""Additional items of JT/T 1078-2016 §5.4.1, tables 13 to 15: video alarms."""

from construct import Int8ub, Int16ub, Int32ub, Optional, Struct

from protocol.item import item

item(0x14, "视频相关报警", "video alarms", Int32ub, clause="1078-2016 table 14")
item(0x15, "视频信号丢失报警状态", "channels without video", Int32ub)
item(0x16, "视频信号遮挡报警状态", "channels covered", Int32ub)
item(0x17, "存储器故障报警状态", "storage faults: bits 0 to 11 main, 12 to 15 backup", Int16ub)
item(
    0x18,
    "异常驾驶行为报警详细描述",
    "abnormal driving",
    # Table 13 prints two bytes, table 15 has three: both are read.
    Struct(
        "abnormal_driving_behavior_alarm_type"
        / Int16ub
        * "异常驾驶行为类型 bit 0 fatigue, 1 phone, 2 smoking",
        "fatigue_level" / Optional(Int8ub) * "疲劳程度 0 to 100",
    ),
    clause="1078-2016 table 15",
)

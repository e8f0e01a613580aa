"""Additional items of JT/T 808: 2013 tables 27 to 32, 2019 tables 27 to 33."""

from construct import Int8ub, Int16sb, Int16ub, Int32ub, Struct, this

from protocol.adapters import HexBytes, When
from protocol.edition import Edition
from protocol.item import item

item(0x01, "里程", "mileage", Int32ub, unit="0.1 km")
item(0x02, "油量", "fuel", Int16ub, unit="0.1 L")
item(0x03, "行驶记录功能获取的速度", "recorder speed", Int16ub, unit="0.1 km/h")
item(0x04, "需要人工确认报警事件的ID", "alarm event to confirm", Int16ub, since=Edition.E2013)
item(0x05, "胎压", "tyre pressures, one byte a wheel, ff none", HexBytes(30), unit="Pa", since=Edition.E2019)
item(0x06, "车厢温度", "carriage temperature", Int16sb, unit="°C", since=Edition.E2019)
item(
    0x11,
    "超速报警附加信息",
    "overspeed",
    Struct(
        "area_type" / Int8ub * "位置类型 0 none, 1 circle, 2 rectangle, 3 polygon, 4 section",
        "area_id" / When(this.area_type != 0, Int32ub) * "区域或路段ID area or section",
    ),
)
item(
    0x12,
    "进出区域/路线报警附加信息",
    "area or route crossed",
    Struct(
        "area_type" / Int8ub * "位置类型 1 circle, 2 rectangle, 3 polygon, 4 route",
        "area_id" / Int32ub * "区域或线路ID area or route",
        "direction" / Int8ub * "方向 0 in, 1 out",
    ),
)
item(
    0x13,
    "路段行驶时间不足/过长报警附加信息",
    "section time too short or too long",
    Struct(
        "route_id" / Int32ub * "路段ID section",
        "drive_time_s" / Int16ub * "路段行驶时间 time in the section",
        "result" / Int8ub * "结果 0 too short, 1 too long",  # 2011 prints WORD, which the length 7 forbids
    ),
)
item(0x25, "扩展车辆信号状态位", "extended vehicle signals", Int32ub, since=Edition.E2013)
item(0x2A, "IO状态位", "IO state: bit 0 deep sleep, bit 1 sleep", Int16ub, since=Edition.E2013)
item(
    0x2B,
    "模拟量",
    "analog inputs",
    Struct("ad1" / Int16ub * "模拟量AD1 bits 16 to 31", "ad0" / Int16ub * "模拟量AD0 bits 0 to 15"),
    since=Edition.E2013,
)
item(0x30, "无线通信网络信号强度", "radio signal", Int8ub, since=Edition.E2013)
item(0x31, "GNSS定位卫星数", "satellites", Int8ub, since=Edition.E2013)

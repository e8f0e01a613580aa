"""Terminals of many makers that send items of the GPS51 platform; 粤标 means something else by 0xF1."""

from construct import Array, GreedyRange, Int8ub, Int16sb, Int16ub, Int32ub, Rebuild, Struct, len_, this

from protocol.adapters import HexBytes, Text
from protocol.item import ItemType
from protocol.profile import profile

WIFI = Struct(
    "count" / Rebuild(Int8ub, len_(this.networks)) * "数量 networks",
    "networks"
    / Array(
        this.count,
        Struct("mac" / HexBytes(6) * "MAC地址 address", "strength" / Int8ub * "信号强度 signal"),
    )
    * "WIFI列表 networks",
)

profile(
    "gps51",
    "GPS51扩展 items of the GPS51 platform",
    items=(
        ItemType(
            0x51,
            "temperatures",
            "温度",
            Struct("temperatures" / GreedyRange(Int16sb) * "温度 of each sensor"),
            unit="0.1 °C",
        ),
        ItemType(0x54, "Wi-Fi networks", "WIFI信息", WIFI),
        ItemType(
            0x58, "humidities", "湿度", Struct("humidities" / GreedyRange(Int16ub) * "湿度 of each sensor")
        ),
        ItemType(0x61, "voltage", "电压", Int16ub, unit="0.01 V"),
        ItemType(0xF1, "ICCID", "SIM卡ICCID", Text()),
        ItemType(0xF6, "IMEI", "终端IMEI", Text()),
        ItemType(0xFA, "alarms", "报警", Int32ub),
    ),
)

"""终端控制类消息: commands to the terminal, its properties, its firmware, the server's clock. 2013 §8.13 to
§8.17, 2019 §8.4, §8.5 and §8.16 to §8.20.

The parameters (0x8103, 0x8104, 0x8106, 0x0104) are in `protocol.messages.parameters`.
"""

from construct import Construct, Int8ub, Int16ub, Int32ub, Rebuild, Struct, this

from protocol.adapters import END, BcdDigits, HexBytes, Text, UtcTime, as_bytes, counted
from protocol.edition import Edition
from protocol.message import DOWN, EMPTY, UP, message

message(
    0x0004,
    "查询服务器时间请求",
    "ask for the server's time",
    EMPTY,
    direction=UP,
    answer=0x8004,
    since=Edition.E2019,
    clause="2019 §8.4",
)
message(
    0x8004,
    "查询服务器时间应答",
    "server's time",
    Struct("time" / UtcTime * "服务器时间 time, UTC unlike all others"),
    direction=DOWN,
    answer=None,
    since=Edition.E2019,
    clause="2019 §8.5",
)
message(
    0x8105,
    "终端控制",
    "control the terminal",
    Struct(
        "command"
        / Int8ub
        * "命令字 1 upgrade, 2 connect to a server, 3 power off, 4 reset, 5 factory settings, 6 no data, 7 "
        "no radio",
        "param" / Text() * "命令参数 the parameters of commands 1 and 2, separated by ';'",
    ),
    direction=DOWN,
    clause="2013 §8.13, 2019 §8.16 (which keeps commands 2, 4 and 5 only)",
)
message(
    0x8107,
    "查询终端属性",
    "ask for the terminal's properties",
    EMPTY,
    direction=DOWN,
    answer=0x0107,
    since=Edition.E2013,
    clause="2013 §8.14",
)


def properties(manufacturer: int, model: int, terminal: int) -> Construct:
    """Declare 0x0107, whose text fields grew with the editions like those of a registration."""
    return Struct(
        "terminal_type"
        / Int16ub
        * "终端类型 bits: for 0 passengers, 1 dangerous goods, 2 goods, 3 taxis, 6 has disk, 7 split, 8 "
        "trailer",
        "manufacturer_id" / Text(manufacturer) * "制造商ID maker",
        "terminal_model" / Text(model) * "终端型号 model",
        "terminal_id" / Text(terminal) * "终端ID maker's number of the terminal",
        "iccid" / BcdDigits(10) * "终端SIM卡ICCID",
        *counted("hardware_version", Int8ub, "终端硬件版本号", "hardware"),
        *counted("firmware_version", Int8ub, "终端固件版本号", "firmware"),
        "gnss_attribute" / Int8ub * "GNSS模块属性 bits 0 GPS, 1 Beidou, 2 GLONASS, 3 Galileo",
        "communication_attribute"
        / Int8ub
        * "通信模块属性 bits 0 GPRS, 1 CDMA, 2 TD-SCDMA, 3 WCDMA, 4 CDMA2000, 5 TD-LTE, 7 other",
        END,
    )


message(
    0x0107,
    "查询终端属性应答",
    "terminal's properties",
    # The offsets of 2013 table 20 leave 8 bytes too many for the terminal ID; its description says 7.
    {Edition.E2013: properties(5, 20, 7), Edition.E2019: properties(5, 30, 30)},
    variants={"maker of 11 bytes": properties(11, 30, 30)},  # as in the registration of 2019
    direction=UP,
    clause="2013 §8.15, 2019 §8.18",
)


def upgrade(manufacturer: int) -> Construct:
    """Declare 0x8108."""
    return Struct(
        "upgrade_type" / Int8ub * "升级类型 0 terminal, 12 IC card reader, 52 GNSS module",
        "manufacturer_id" / Text(manufacturer) * "制造商ID maker",
        *counted("version", Int8ub, "版本号", "firmware"),
        "package_length" / Rebuild(Int32ub, lambda this: len(as_bytes(this.package_data))) * "升级数据包长度",
        "package_data" / HexBytes(this.package_length) * "升级数据包 firmware itself",
        END,
    )


message(
    0x8108,
    "下发终端升级包",
    "upgrade the terminal",
    upgrade(5),
    variants={"maker of 11 bytes": upgrade(11)},
    direction=DOWN,
    since=Edition.E2013,
    clause="2013 §8.16, 2019 §8.19",
)
message(
    0x0108,
    "终端升级结果通知",
    "result of an upgrade",
    Struct(
        "upgrade_type"
        / Int8ub
        * "升级类型 0 terminal, 12 IC card reader, 52 GNSS module, 0x64 to 0x67 active safety",
        "result" / Int8ub * "升级结果 0 done, 1 failed, 2 cancelled",
    ),
    direction=UP,
    since=Edition.E2013,
    clause="2013 §8.17, 2019 §8.20",
)

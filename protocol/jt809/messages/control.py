"""车辆监管业务: what the superior asks of a terminal, through us. JT/T 809-2011 §4.5.6."""

from typing import Final

from construct import Construct, Int8ub, Int16ub, Int32ub, Rebuild, Struct

from protocol.adapters import END, BcdDigits, BcdTime, HexBytes, Text, as_bytes
from protocol.jt809.adapters import UtcSeconds
from protocol.jt809.dialect import Dialect
from protocol.jt809.fields import PERIOD, SOURCE, VEHICLE_POSITION, VEHICLE_POSITION_2019, result, text
from protocol.jt809.message import group, message

CLAUSE: Final = "2011 §4.5.6"

UP: Final = group(0x1500, "主链路车辆监管业务", "answers of vehicles")
DOWN: Final = group(0x9500, "从链路车辆监管业务", "commands to vehicles")

COMMANDS: Final = (
    "0 version, 1 driver, 2 clock, 3 mileage, 4 pulses, 5 vehicle, 6 signals, 7 number, 8 speeds, "
    "9 positions, 0x10 accidents, 0x11 over-time driving, 0x12 drivers, 0x13 power, "
    "0x14 parameters, 0x15 speed states"
)


def data(name: str, length: str, chinese: str) -> tuple[Construct, Construct]:
    """Two fields: the length of some bytes, and the bytes as hex."""
    return (
        length / Rebuild(Int32ub, lambda context: len(as_bytes(context[name]))) * f"{chinese}长度 its bytes",
        name / HexBytes(lambda context: context[length]) * f"{chinese} bytes",
    )


def answered(*fields: Construct) -> dict[Dialect, Construct]:
    """Declare an answer, which since 2019 names what it answers."""
    return {Dialect.V1: Struct(*fields, END), Dialect.V3: Struct(*SOURCE, *fields, END)}


message(
    0x9501,
    "车辆单向监听请求",
    "listen to a vehicle",
    answer=0x1501,
    clause=CLAUSE,
    layout=Struct(
        "monitor_tel" / Text(20) * "回拨电话号码 phone that the terminal shall call",
    ),
)
message(0x1501, "车辆单向监听应答", "listening reply", answered(result("0 calling, 1 failed")), clause=CLAUSE)

LENS: Final = "lens_id" / Int8ub * "镜头ID camera"
SIZE: Final = (
    "size_type"
    / Int8ub
    * "图片大小 1 320x240, 2 640x480, 3 800x600, 4 1024x768, 5 176x144, 6 704x288, 7 704x576"
)
message(0x9502, "车辆拍照请求", "take a photo", Struct(LENS, SIZE), answer=0x1502, clause=CLAUSE)


def photo(position: Construct, *source: Construct, whole: bool = True) -> Construct:
    """Declare 0x1502. Some platforms cut the photo short of its length (`whole` is false)."""
    length, content = data("photo", "photo_length", "图片")
    return (
        Struct(
            *source,
            "photo_rsp_flag"
            / Int8ub
            * "拍照应答标识 0 no camera, 1 taken, 2 taken and follows, 3 offline, 4 no such camera, 5 other, "
            "9 unknown plate",
        )
        + position
        + Struct(
            LENS,
            length if whole else "photo_length" / Int32ub * "图片长度 its bytes before it was cut short",
            SIZE,
            "type" / Int8ub * "图片格式 1 jpg, 2 gif, 3 tiff, 4 png",
            content if whole else "photo" / HexBytes() * "图片 what there is of it",
            END,
        )
    )


message(
    0x1502,
    "车辆拍照应答",
    "photo",
    {Dialect.V1: photo(VEHICLE_POSITION), Dialect.V3: photo(VEHICLE_POSITION_2019, *SOURCE)},
    variants={
        "photo cut short": {
            Dialect.V1: photo(VEHICLE_POSITION, whole=False),
            Dialect.V3: photo(VEHICLE_POSITION_2019, *SOURCE, whole=False),
        }
    },
    clause=CLAUSE,
)
message(
    0x9503,
    "下发车辆报文请求",
    "text to a vehicle",
    Struct(
        "msg_sequence" / Int32ub * "消息ID序号 number of the text",
        "msg_priority" / Int8ub * "报文优先级 0 urgent, 1 normal",
        *text("msg_content", "报文信息内容", "text", length="msg_length"),
    ),
    answer=0x1503,
    clause=CLAUSE,
)
TEXT_RESULT: Final = result("0 delivered, 1 failed")
message(
    0x1503,
    "下发车辆报文应答",
    "text reply",
    {
        Dialect.V1: Struct("msg_id" / Int32ub * "消息ID number of the text", TEXT_RESULT, END),
        Dialect.V3: Struct(*SOURCE, TEXT_RESULT, END),
    },
    clause=CLAUSE,
)
message(
    0x9504,
    "上报车辆行驶记录请求",
    "ask for recorder data",
    {
        Dialect.V1: Struct(
            "command" / Int8ub * f"命令字 {COMMANDS}",
            "start_time" / BcdTime * "记录开始时间 from, GMT+8",
            "end_time" / BcdTime * "记录结束时间 until, GMT+8",
            "max" / Int16ub * "最大单位数据块个数 blocks at most",
            END,
        ),
        Dialect.V3: Struct(*PERIOD, "command" / Int8ub * f"命令字 {COMMANDS}", END),
    },
    answer=0x1504,
    clause=CLAUSE,
)
message(
    0x1504,
    "上报车辆行驶记录应答",
    "recorder data",
    answered(
        "command_type" / Int8ub * f"命令字 {COMMANDS}",
        *data("traveldata_info", "traveldata_length", "车辆行驶记录信息"),
    ),
    clause=CLAUSE,
)
message(
    0x9505,
    "车辆应急接入监管平台请求",
    "make a terminal connect to the superior in an emergency",
    Struct(
        "authentication_code" / BcdDigits(10) * "监管平台下发的鉴权码 authentication code there",
        "access_point_name" / Text(20) * "拨号点名称 APN",
        "user_name" / Text(49) * "拨号用户名 user",
        "password" / Text(22) * "拨号密码 password",
        "server_ip" / Text(32) * "地址 server",
        "tcp_port" / Int16ub * "服务器TCP端口 TCP port",
        "udp_port" / Int16ub * "服务器UDP端口 UDP port",
        "end_time" / UtcSeconds * "结束时间 when it shall come back, UTC",
    ),
    answer=0x1505,
    clause=CLAUSE,
)
message(
    0x1505,
    "车辆应急接入监管平台应答",
    "emergency access reply",
    answered(result("0 received by the terminal, 1 no such vehicle, 2 other")),
    clause=CLAUSE,
)

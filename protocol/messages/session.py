"""终端管理类消息: general replies, heartbeat, registration and authentication. 2013 §8.1 to §8.8."""

from construct import Construct, Int8ub, Int16ub, Prefixed, Struct, this

from protocol.adapters import Text, When
from protocol.edition import Edition
from protocol.message import DOWN, EMPTY, UP, message

GENERAL_REPLY = Struct(
    "ack_serial" / Int16ub * "应答流水号 serial of the answered message",
    "ack_msg_id" / Int16ub * "应答ID id of the answered message",
    "result" / Int8ub * "结果 0 done, 1 failed, 2 bad message, 3 not supported, 4 alarm handled (0x8001)",
)

message(
    0x0001,
    "终端通用应答",
    "terminal general reply",
    GENERAL_REPLY,
    direction=UP,
    answer=None,
    clause="2011 §8.1, 2013 §8.1, 2019 §8.1",
)
message(
    0x8001,
    "平台通用应答",
    "platform general reply",
    GENERAL_REPLY,
    direction=DOWN,
    answer=None,
    clause="2011 §8.2, 2013 §8.2, 2019 §8.2",
)
message(0x0002, "终端心跳", "heartbeat", EMPTY, direction=UP, clause="2011 §8.3, 2013 §8.3, 2019 §8.3")
message(0x0003, "终端注销", "deregister", EMPTY, direction=UP, clause="2011 §8.6, 2013 §8.7, 2019 §8.10")


def registration(manufacturer: int, model: int, terminal: int) -> Construct:
    """Declare 0x0100, whose text fields grew with every edition."""
    return Struct(
        "province_id" / Int16ub * "省域ID first two digits of GB/T 2260, 0 unknown",
        "city_id" / Int16ub * "市县域ID last four digits of GB/T 2260, 0 unknown",
        "manufacturer_id" / Text(manufacturer) * "制造商ID maker",
        "terminal_model" / Text(model) * "终端型号 model",
        "terminal_id" / Text(terminal) * "终端ID maker's number of the terminal",
        "plate_color" / Int8ub * "车牌颜色 JT/T 415-2006 §5.4.12, 0 without a plate",
        "plate_number" / Text() * "车辆标识 plate; from 2013 on the VIN where the colour is 0",
    )


message(
    0x0100,
    "终端注册",
    "register",
    {
        Edition.E2011: registration(5, 8, 7),
        Edition.E2013: registration(5, 20, 7),
        Edition.E2019: registration(11, 30, 30),
    },
    direction=UP,
    answer=0x8100,
    clause="2011 §8.4, 2013 §8.5, 2019 §8.8",
)
message(
    0x8100,
    "终端注册应答",
    "register reply",
    Struct(
        "ack_serial" / Int16ub * "应答流水号 serial of the registration",
        "result"
        / Int8ub
        * "结果 0 done, vehicle 1 registered already 2 unknown, terminal 3 registered already 4 unknown",
        "auth_code" / When(this.result == 0, Text()) * "鉴权码 only after success",
    ),
    direction=DOWN,
    answer=None,
    clause="2011 §8.5, 2013 §8.6, 2019 §8.9",
)
message(
    0x0102,
    "终端鉴权",
    "authenticate",
    {
        Edition.E2011: Struct("auth_code" / Text() * "鉴权码 code from the registration reply"),
        Edition.E2019: Struct(
            "auth_code" / Prefixed(Int8ub, Text()) * "鉴权码 code from the registration reply",
            "imei" / Text(15) * "终端IMEI",
            "software_version" / Text(20) * "软件版本号 firmware",
        ),
    },
    direction=UP,
    clause="2011 §8.7, 2013 §8.8, 2019 §8.11",
)

"""车辆动态信息交换业务: registrations, positions, drivers, waybills and routes. JT/T 809-2011 §4.5.3."""

from typing import Final

from construct import Array, Construct, Default, Int8ub, Int16ub, Int32ub, Rebuild, Struct, len_, this

from protocol.adapters import END, Text
from protocol.jt809.adapters import Carried, PlatformId, UtcSeconds
from protocol.jt809.dialect import Dialect
from protocol.jt809.fields import (
    PERIOD,
    SOURCE,
    VEHICLE_POSITION,
    VEHICLE_POSITION_2019,
    result,
    text,
)
from protocol.jt809.message import Envelope, group, message
from protocol.message import EMPTY

CLAUSE: Final = "2011 §4.5.3"
NEW: Final = "2019"

UP: Final = group(0x1200, "主链路车辆动态信息交换业务", "vehicle data of the subordinate")
DOWN: Final = group(0x9200, "从链路车辆动态信息交换业务", "vehicle data of the superior")


def registration(model: int, terminal: int, sim: int, *imei: Construct) -> Construct:
    """Declare 0x1201, whose fields grew with every edition."""
    return Struct(
        "platform_id" / PlatformId * "平台唯一编码 platform",
        "producer_id" / PlatformId * "车载终端厂商唯一编码 maker of the terminal",
        "terminal_model_type" / Text(model) * "车载终端型号 model",
        *imei,
        "terminal_id" / Text(terminal) * "车载终端编号 maker's number of the terminal",
        "terminal_sim" / Text(sim) * "车载终端SIM卡电话号码 phone number",
        END,
    )


message(
    0x1201,
    "上传车辆注册信息",
    "register a vehicle",
    {
        Dialect.V1: registration(8, 7, 12),
        Dialect.V2: registration(20, 7, 12),
        Dialect.V3: registration(30, 30, 13, "imei_id" / Text(15) * "车载终端通信模块IMEI码 IMEI"),
    },
    answer=0x9201,
    clause=CLAUSE,
)
LIVE: Final = {Dialect.V1: VEHICLE_POSITION, Dialect.V3: VEHICLE_POSITION_2019}
"""车辆定位信息 of a message about one position."""
message(0x1202, "实时上传车辆定位信息", "live position", LIVE, clause=CLAUSE)


def history(position: Construct) -> Construct:
    """Declare a list of positions; the standard puts at most five in a message."""
    return Struct(
        "gnss_count" / Rebuild(Int8ub, len_(this.gnss)) * "卫星定位数据个数 1 to 5",
        "gnss" / Array(this.gnss_count, position) * "卫星定位数据 positions, oldest first",
    )


HISTORY: Final = {dialect: history(position) for dialect, position in LIVE.items()}
message(0x1203, "车辆定位信息自动补报", "positions made up after a disconnection", HISTORY, clause=CLAUSE)

ACKNOWLEDGEMENT: Final = {Dialect.V1: EMPTY, Dialect.V3: Struct(*SOURCE)}
COUNT_BEHIND: Final = {
    "length behind": Struct(*SOURCE, "data_length" / Default(Int32ub, 0) * "后续数据长度 0, behind its place")
}
message(
    0x1205,
    "启动车辆定位信息交换应答",
    "exchange begun",
    ACKNOWLEDGEMENT,
    variants=COUNT_BEHIND,
    clause=CLAUSE,
)
message(
    0x1206,
    "结束车辆定位信息交换应答",
    "exchange ended",
    ACKNOWLEDGEMENT,
    variants=COUNT_BEHIND,
    clause=CLAUSE,
)
message(
    0x1207,
    "申请交换指定车辆定位信息请求",
    "ask to exchange a vehicle's positions",
    Struct(*PERIOD),
    answer=0x9207,
    clause=CLAUSE,
)
message(0x1208, "取消交换指定车辆定位信息请求", "ask to end that exchange", answer=0x9208, clause=CLAUSE)
message(
    0x1209, "补发车辆定位信息请求", "ask for positions missed", Struct(*PERIOD), answer=0x9209, clause=CLAUSE
)

DRIVER: Final = (
    "driver_name" / Text(16) * "驾驶员姓名 name",
    "driver_id" / Text(20) * "身份证编号 identity card",
    "licence" / Text(40) * "从业资格证号 qualification certificate",
    "org_name" / Text(200) * "发证机构名称 who issued it",
)
VALID: Final = "valid_date" / UtcSeconds * "证件有效期 until when it is valid, UTC"
WAYBILL: Final = text("ewaybill_info", "电子运单内容", "waybill", length="ewaybill_length")
ROUTE: Final = Struct("drv_line" / Carried(0x8606) * "车辆行驶路线信息 route, as 0x8606 of JT/T 808 sets it")

message(
    0x120A,
    "上报车辆驾驶员身份识别信息应答",
    "driver as asked for",
    {Dialect.V1: Struct(*DRIVER), Dialect.V3: Struct(*SOURCE, *DRIVER, VALID)},
    clause=CLAUSE,
)
message(
    0x120B,
    "上报车辆电子运单应答",
    "waybill as asked for",
    {Dialect.V1: Struct(*WAYBILL), Dialect.V3: Struct(*SOURCE, *WAYBILL)},
    clause=CLAUSE,
)
message(
    0x120C,
    "主动上报驾驶员身份信息",
    "driver",
    {Dialect.V1: Struct(*DRIVER), Dialect.V3: Struct(*DRIVER, VALID)},
    clause=CLAUSE,
)
message(0x120D, "主动上报车辆电子运单信息", "waybill", Struct(*WAYBILL), clause=CLAUSE)
message(0x120E, "主动上报车辆行驶路线信息", "route", ROUTE, answer=0x920D, since=Dialect.V3, clause=NEW)

message(
    0x9201,
    "车辆注册信息应答",
    "vehicle registration reply",
    Struct(
        "data_type" / Int16ub * "对应车辆注册信息消息的子业务类型标识 sub-message id of the registration",
        "msg_sn" / Int32ub * "对应车辆注册信息消息的报文序列号 serial of the registration",
        result("0 registered with remarks, 1 registered, 2 wrong data, 3 refused"),
    ),
    since=Dialect.V3,
    envelopes={Dialect.V1: Envelope.VEHICLE, Dialect.V3: Envelope.PLAIN},
    clause=NEW,
)
message(0x9202, "交换车辆定位信息", "position of a vehicle from elsewhere", LIVE, clause=CLAUSE)
message(0x9203, "车辆定位信息交换补发", "positions of it made up", HISTORY, clause=CLAUSE)
message(
    0x9204,
    "交换车辆静态信息",
    "vehicle from elsewhere",
    Struct("car_info" / Text() * "车辆信息 static data"),
    clause=CLAUSE,
)
message(
    0x9205,
    "启动车辆定位信息交换请求",
    "begin the exchange of a vehicle's positions",
    Struct("reason_code" / Int8ub * "原因 vehicle 0 entered an area, 1 chosen by hand, 2 emergency, 3 other"),
    answer=0x1205,
    clause=CLAUSE,
)
message(
    0x9206,
    "结束车辆定位信息交换请求",
    "end it",
    Struct(
        "reason_code"
        / Int8ub
        * "原因 vehicle 0 left the area, 1 chosen by hand, 2 emergency over, 3 offline, 4 other"
    ),
    answer=0x1206,
    clause=CLAUSE,
)


def reply(meanings: str) -> dict[Dialect, Construct]:
    """Declare a reply of one byte, which since 2019 names what it answers."""
    return {Dialect.V1: Struct(result(meanings), END), Dialect.V3: Struct(*SOURCE, result(meanings), END)}


message(
    0x9207,
    "申请交换指定车辆定位信息应答",
    "reply to 0x1207",
    reply("0 done, 1 no data of it, 2 wrong period, 3 other"),
    clause=CLAUSE,
)
message(
    0x9208,
    "取消交换指定车辆定位信息应答",
    "reply to 0x1208",
    reply("0 done, 1 was not asked for, 2 other"),
    clause=CLAUSE,
)
message(
    0x9209,
    "补发车辆定位信息应答",
    "reply to 0x1209",
    reply("0 follows at once, 1 follows later, 2 no such positions, 3 wrong request, 4 other"),
    clause=CLAUSE,
)
message(
    0x920A,
    "上报车辆驾驶员身份识别信息请求",
    "ask for the driver",
    {
        Dialect.V1: EMPTY,
        Dialect.V3: Struct("flag" / Int8ub * "上传标志 0 as last received, 1 ask the terminal"),
    },
    answer=0x120A,
    clause=CLAUSE,
)
message(0x920B, "上报车辆电子运单请求", "ask for the waybill", answer=0x120B, clause=CLAUSE)
message(0x920C, "上报车辆行驶路线请求", "ask for the route", answer=0x120E, since=Dialect.V3, clause=NEW)
message(
    0x920D,
    "车辆行驶路线请求应答",
    "route reply",
    Struct(
        "drv_line_id" / Int32ub * "路线ID route",
        result("0 recorded with remarks, 1 recorded, 2 wrong data, 3 refused"),
        *text("reason", "原因", "why", size=Int16ub),
    ),
    since=Dialect.V3,
    clause=NEW,
)

"""信息统计类消息: how much arrived, was lost, and by which serials. JT/T 809-2011 §4.5.2, -2019.

Those of 2019 have a sub-message id and a length in front, like sub-messages, but are their own groups.
"""

from typing import Final

from construct import Array, Construct, Default, Int8ub, Int32ub, Rebuild, Struct, len_, this

from protocol.jt809.adapters import HexId, PlatformId, UtcSeconds
from protocol.jt809.dialect import Dialect
from protocol.jt809.fields import PERIOD
from protocol.jt809.message import Link, message

CLAUSE: Final = "2011 §4.5.2"
NEW: Final = "2019"

message(
    0x9101,
    "接收车辆定位信息数量通知",
    "number of positions received",
    Struct("dynamic_info_total" / Int32ub * "数据量 positions received in the period", *PERIOD),
    clause=CLAUSE,
)


def headed(id: int, length: object, *fields: Construct) -> Construct:
    """Declare a statistics message of 2019: its id, the length of what follows, and that."""
    return Struct(
        "sub_msg_id" / Default(HexId, id) * "子业务类型标识 sub-message id",
        "data_length" / Rebuild(Int32ub, length) * "后续数据长度 bytes that follow",
        *fields,
    )


PLATFORM_PERIOD: Final = ("platform_id" / PlatformId * "平台唯一编码 the platform asked about", *PERIOD)

message(
    0x9102,
    "平台链路连接情况与车辆定位消息传输情况上报请求",
    "ask for disconnections and losses",
    headed(0x9102, 11 + 2 * 8, *PLATFORM_PERIOD),
    answer=0x1102,
    since=Dialect.V3,
    clause=NEW,
)
message(
    0x1102,
    "平台链路连接情况与车辆定位消息传输情况上报应答",
    "disconnections and losses",
    headed(
        0x1102,
        11 + 2 * 8 + 4 + 1 + 4,
        *PLATFORM_PERIOD,
        "lost_dynamic_count" / Int32ub * "丢失动态信息数 positions lost",
        "disconnect_count" / Int8ub * "链路断开次数 disconnections",
        "disconnect_duration" / Int32ub * "链路断开时间 seconds disconnected",
    ),
    since=Dialect.V3,
    clause=NEW,
)


def serials(id: int, who: str) -> Construct:
    """Declare a notice of serial numbers."""
    one = Struct(
        "sub_msg_id" / HexId * "子业务类型标识 kind of message",
        "serial" / Int32ub * "报文序列号 serial of the last message of this kind",
        "time" / UtcSeconds * "发送时间 when it was sent, UTC",
    )
    return headed(
        id,
        lambda this: 1 + 14 * len(this.manage_msg_sn_inform),
        "count" / Rebuild(Int8ub, len_(this.manage_msg_sn_inform)) * f"消息总数 kinds that {who} has sent",
        "manage_msg_sn_inform" / Array(this.count, one) * "消息序列号列表 one entry for each kind",
    )


message(
    0x1103,
    "上传平台间消息序列号通知",
    "serials sent by the subordinate",
    serials(0x1103, "the subordinate"),
    since=Dialect.V3,
    link=Link.MAIN,
    clause=NEW,
)
message(
    0x9103,
    "下发平台间消息序列号通知",
    "serials sent by the superior",
    serials(0x9103, "the superior"),
    since=Dialect.V3,
    clause=NEW,
)

"""平台间信息交互业务: duty checks (查岗), texts between platforms, messages missed. JT/T 809-2011 §4.5.4.

The three dialects differ most here. A duty check is a question to the person on duty, with a deadline.
"""

from typing import Final

from construct import Construct, Int8ub, Int16ub, Int32ub, Struct

from protocol.adapters import END, Text
from protocol.jt809.adapters import UtcSeconds
from protocol.jt809.dialect import Dialect
from protocol.jt809.fields import SOURCE, text
from protocol.jt809.message import Envelope, group, message

CLAUSE: Final = "2011 §4.5.4"
NEW: Final = "2019"

UP: Final = group(0x1300, "主链路平台间信息交互业务", "talk of the subordinate", Envelope.PLAIN)
DOWN: Final = group(0x9300, "从链路平台间信息交互业务", "talk of the superior", Envelope.PLAIN)

OBJECT_TYPE: Final = (
    "object_type"
    / Int8ub
    * "对象类型 0 one platform below, 1 this platform, 2 one owner, 3 all owners, 4 all platforms, 5 both, "
    "6 government platforms, 7 enterprise platforms, 8 of those the commercial, 9 and the other ones"
)
OBJECT: Final = (OBJECT_TYPE, "object_id" / Text(12) * "对象ID who is asked")
OBJECT_2019: Final = (OBJECT_TYPE, "object_id" / Text(20) * "对象ID who is asked")
INFO_ID: Final = "info_id" / Int32ub * "信息ID number of the question"
CONTENT: Final = text("info_content", "信息内容", "text", length="info_length")


def info(*who: Construct) -> Construct:
    """Declare a question or an answer."""
    return Struct(*who, INFO_ID, *CONTENT, END)


message(
    0x9301,
    "平台查岗请求",
    "check who is on duty",
    {
        Dialect.V1: info(),
        Dialect.V2: info(*OBJECT),
        Dialect.V3: info(*OBJECT_2019, "answer_time" / Int8ub * "应答时限 minutes to answer"),
    },
    answer=0x1301,
    clause=CLAUSE,
)
message(
    0x1301,
    "平台查岗应答",
    "answer of the person on duty",
    {
        Dialect.V1: info(),
        Dialect.V2: info(*OBJECT),
        Dialect.V3: Struct(
            OBJECT_TYPE,
            "responder" / Text(16) * "查岗应答人姓名 name of who answers",
            "responder_tel" / Text(20) * "查岗应答人联系电话 phone of who answers",
            "object_id" / Text(20) * "对象ID who was asked",
            *SOURCE,
            *CONTENT,
            END,
        ),
    },
    clause=CLAUSE,
)
message(
    0x9302,
    "下发平台间报文请求",
    "text from the superior",
    {Dialect.V1: info(), Dialect.V2: info(*OBJECT), Dialect.V3: info(*OBJECT_2019)},
    answer=0x1302,
    clause=CLAUSE,
)
message(
    0x1302,
    "下发平台间报文应答",
    "text received",
    {Dialect.V1: Struct(INFO_ID, END), Dialect.V3: Struct(*SOURCE, END)},
    clause=CLAUSE,
)

SERIALS: Final = (
    "begin_serial" / Int32ub * "起始报文序列号 first serial to send again",
    "end_serial" / Int32ub * "结束报文序列号 last serial to send again",
    "time" / UtcSeconds * "重传起始系统UTC时间 from when to send again; 0 by serials only",
)
AGAIN: Final = Struct(
    "retransmit_msg_id" / Int16ub * "需要重传消息的子业务类型标识 kind of message",
    "serial_count" / Int8ub * "重传消息总数 messages to send again",
    *SERIALS,
    END,
)
WITHOUT_KIND: Final = {"serials only": Struct(*SERIALS, END)}

message(
    0x1303,
    "上传平台间消息补传请求",
    "ask the superior to send again",
    AGAIN,
    variants=WITHOUT_KIND,
    since=Dialect.V3,
    clause=NEW,
)
message(
    0x9303,
    "下发平台间消息补传请求",
    "asked to send again",
    AGAIN,
    variants=WITHOUT_KIND,
    since=Dialect.V3,
    clause=NEW,
)

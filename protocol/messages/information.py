"""信息类消息: texts to the driver, events, questions, news. 2013 §8.23 to §8.30.

All but 0x8300 are gone in 2019. The prints of 2011 carry a second count, of this packet, which 2013 dropped
when it moved the division into packets to the header; both are read.
"""

from construct import Array, Construct, GreedyRange, Int8ub, Int16ub, Struct

from protocol.adapters import END, Text, Trailing, When, count_of, counted
from protocol.edition import Edition
from protocol.message import DOWN, UP, message

message(
    0x8300,
    "文本信息下发",
    "text to the driver",
    {
        Edition.E2011: Struct(
            "flag"
            / Int8ub
            * "标志 bits 0 urgent, 2 display, 3 read aloud, 4 advertising screen, 5 CAN fault codes (2013)",
            "text" / Text() * "文本信息 at most 1024 bytes of GBK",
        ),
        Edition.E2019: Struct(
            "flag"
            / Int8ub
            * "标志 bits 0 and 1: 01 service, 10 urgent, 11 notice; 2 display, 3 read aloud, 5 CAN fault "
            "codes",
            "text_type" / Int8ub * "文本类型 1 notice, 2 service",
            "text" / Text() * "文本信息 at most 1024 bytes of GBK",
        ),
    },
    direction=DOWN,
    clause="2011 §8.16, 2013 §8.23, 2019 §8.27",
)


def listed(kind: str, item: Construct, *, by_packet: bool = False) -> Construct:
    """Declare type, count and items: a list that a message deletes, replaces or extends."""
    counts = ["count" / Trailing(Int8ub, count_of("items")) * "总数 items"]
    if by_packet:
        counts = [
            "count" / Trailing(Int8ub, count_of("items", or_given="count")) * "总数 items of all packets",
            "package_item_count" / Trailing(Int8ub, count_of("items")) * "包内个数 in this packet, 2011 only",
        ]
    here = counts[-1].name
    return Struct(
        "type" / Int8ub * f"设置类型 0 delete all, 1 replace, 2 add, 3 change{kind}",
        *counts,
        "items"
        / When(lambda this: this[here] is not None, Array(lambda this: this[here], item))
        * "列表 items",
        END,
    )


def in_both_forms(kind: str, item: Construct) -> dict[Edition, Construct]:
    """Declare a list of 2011, whose packets are counted in the body, and of 2013."""
    return {Edition.E2011: listed(kind, item, by_packet=True), Edition.E2013: listed(kind, item)}


EVENT = Struct(
    "event_id" / Int8ub * "事件ID event",
    *counted("content", Int8ub, "事件内容", "what the driver chooses"),
)
message(
    0x8301,
    "事件设置",
    "set events",
    in_both_forms(", 4 delete these", EVENT),
    variants={"ids only": listed("", Struct("event_id" / Int8ub * "事件ID event"))},  # type 4
    direction=DOWN,
    until=Edition.E2013,
    clause="2013 §8.24",
)
message(
    0x0301,
    "事件报告",
    "event report",
    Struct("event_id" / Int8ub * "事件ID event that the driver chose"),
    direction=UP,
    until=Edition.E2013,
    clause="2013 §8.25",
)
message(
    0x8302,
    "提问下发",
    "question to the driver",
    Struct(
        "flag" / Int8ub * "标志 bits 0 urgent, 3 read aloud, 4 advertising screen",
        *counted("question", Int8ub, "问题", "question"),
        "answers"
        / GreedyRange(
            Struct(
                "answer_id" / Int8ub * "答案ID answer", *counted("content", Int16ub, "答案内容", "its text")
            )
        )
        * "候选答案列表 answers to choose from",
    ),
    direction=DOWN,
    answer=0x0302,
    until=Edition.E2013,
    clause="2013 §8.26",
)
message(
    0x0302,
    "提问应答",
    "answer to a question",
    Struct(
        "ack_serial" / Int16ub * "应答流水号 serial of the question",
        "answer_id" / Int8ub * "答案ID answer that the driver chose",
    ),
    direction=UP,
    until=Edition.E2013,
    clause="2013 §8.27",
)
message(
    0x8303,
    "信息点播菜单设置",
    "set the news menu",
    in_both_forms(
        "",
        Struct(
            "info_type" / Int8ub * "信息类型 kind of news", *counted("name", Int16ub, "信息名称", "its name")
        ),
    ),
    direction=DOWN,
    until=Edition.E2013,
    clause="2013 §8.28",
)
message(
    0x0303,
    "信息点播/取消",
    "order or cancel news",
    Struct(
        "info_type" / Int8ub * "信息类型 kind of news",
        "flag" / Int8ub * "点播/取消标志 0 cancel, 1 order",
    ),
    direction=UP,
    until=Edition.E2013,
    clause="2013 §8.29",
)
message(
    0x8304,
    "信息服务",
    "news",
    {
        Edition.E2011: Struct(
            "info_type" / Int8ub * "信息类型 kind of news",
            "total_length" / Int16ub * "信息总长度 bytes of all packets",
            *counted("content", Int16ub, "包信息", "news in this packet"),
            END,
        ),
        Edition.E2013: Struct(
            "info_type" / Int8ub * "信息类型 kind of news",
            *counted("content", Int16ub, "信息", "news"),
            END,
        ),
    },
    direction=DOWN,
    until=Edition.E2013,
    clause="2011 §8.23, 2013 §8.30",
)

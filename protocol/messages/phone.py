"""电话类消息: calls and the phone book. 2013 §8.31 and §8.32, 2019 §8.28 and §8.29."""

from construct import Int8ub, Struct

from protocol.adapters import Text, counted
from protocol.message import DOWN, message
from protocol.messages.information import in_both_forms

message(
    0x8400,
    "电话回拨",
    "call back",
    Struct(
        "flag" / Int8ub * "标志 0 a call, 1 listening in",
        "phone_number" / Text() * "电话号码 at most 20 bytes",
    ),
    direction=DOWN,
    clause="2013 §8.31, 2019 §8.28",
)
message(
    0x8401,
    "设置电话本",
    "set the phone book",
    in_both_forms(
        " by name",
        Struct(
            "flag" / Int8ub * "标志 1 may call, 2 may be called, 3 both",
            *counted("phone_number", Int8ub, "电话号码", "number"),
            *counted("name", Int8ub, "联系人", "person"),
        ),
    ),
    direction=DOWN,
    clause="2013 §8.32, 2019 §8.29",
)

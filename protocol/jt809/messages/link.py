"""链路管理类消息: log in, keep alive and leave, on both links. JT/T 809-2011 §4.5.1.

The subordinate platform connects first and says in 0x1001 where it listens; the superior answers with a
verify code and connects back there. No keep-alive answer for three minutes means that a link is down.
"""

from typing import Final

from construct import Construct, Int8ub, Int16ub, Int32ub, Struct

from protocol.adapters import Text
from protocol.jt809.dialect import Dialect
from protocol.jt809.fields import result
from protocol.jt809.message import Link, message

CLAUSE: Final = "2011 §4.5.1"
USER: Final = (
    "user_id" / Int32ub * "用户名 user number, issued by the superior",
    "password" / Text(8) * "密码 password",
)
VERIFY_CODE: Final = "verify_code" / Int32ub * "校验码 code that 0x1002 gave for the other link"


def login(*center: Construct) -> Construct:
    """Declare 0x1001."""
    return Struct(
        *USER,
        *center,
        "down_link_ip"
        / Text(32)
        * "下级平台提供对应的从链路服务端IP地址 where the superior shall connect to",
        "down_link_port" / Int16ub * "从链路服务端口号 port there",
    )


message(
    0x1001,
    "主链路登录请求",
    "log in on the main link",
    {
        Dialect.V1: login(),
        Dialect.V3: login("gnss_center_id" / Int32ub * "下级平台接入码 number of the subordinate platform"),
    },
    answer=0x1002,
    clause=CLAUSE,
)
message(
    0x1002,
    "主链路登录应答",
    "login reply",
    Struct(
        result(
            "0 done, 1 wrong address, 2 wrong access code, 3 unknown user, 4 wrong password, 5 busy, "
            "6 (2019: 0xff) other"
        ),
        "verify_code" / Int32ub * "校验码 code that the superior will show on the other link",
    ),
    link=Link.MAIN,
    clause=CLAUSE,
)
message(0x1003, "主链路注销请求", "log out of the main link", Struct(*USER), answer=0x1004, clause=CLAUSE)
message(0x1004, "主链路注销应答", "logout reply", link=Link.MAIN, clause=CLAUSE)
message(0x1005, "主链路连接保持请求", "keep the main link alive", answer=0x1006, clause=CLAUSE)
message(0x1006, "主链路连接保持应答", "main link is alive", link=Link.MAIN, clause=CLAUSE)
message(
    0x1007,
    "主链路断开通知",
    "the main link is down",
    Struct("error_code" / Int8ub * "错误代码 0 main link broken, 1 other"),
    link=Link.SUB,
    clause=CLAUSE,
)
message(
    0x1008,
    "下级平台主动关闭主从链路通知",
    "the subordinate closes both links",
    Struct("reason_code" / Int8ub * "链路关闭原因 0 gateway restarts, 1 other"),
    link=Link.SUB,
    clause=CLAUSE,
)
message(
    0x9001,
    "从链路连接请求",
    "connect the sub link",
    Struct(VERIFY_CODE),
    answer=0x9002,
    clause=CLAUSE,
)
message(
    0x9002,
    "从链路连接应答",
    "sub link reply",
    Struct(result("0 done, 1 wrong verify code, 2 busy, 3 other")),
    link=Link.SUB,
    clause=CLAUSE,
)
message(
    0x9003,
    "从链路注销请求",
    "leave the sub link",
    Struct(VERIFY_CODE),
    answer=0x9004,
    clause=CLAUSE,
)
message(0x9004, "从链路注销应答", "sub link leaving reply", link=Link.SUB, clause=CLAUSE)
message(0x9005, "从链路连接保持请求", "keep the sub link alive", answer=0x9006, clause=CLAUSE)
message(0x9006, "从链路连接保持应答", "sub link is alive", link=Link.SUB, clause=CLAUSE)
message(
    0x9007,
    "从链路断开通知",
    "the sub link is down",
    Struct("error_code" / Int8ub * "错误代码 0 cannot connect back, 1 sub link broken, 2 other"),
    link=Link.MAIN,
    clause=CLAUSE,
)
message(
    0x9008,
    "上级平台主动关闭主从链路通知",
    "the superior closes both links",
    Struct("reason_code" / Int8ub * "链路关闭原因 0 gateway restarts, 1 other"),
    link=Link.MAIN,
    clause=CLAUSE,
)

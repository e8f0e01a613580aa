"""Messages that no standard has and several makers' terminals send.

Their meaning is the maker's, so their content stays bytes; declared are only those for which a general reply
does no harm. 0x0109, which wants the time, 0x4401, which is a reply itself, and makers' commands are not.
"""

from construct import Int8ub, Int16ub, Struct

from protocol.adapters import END, HexBytes, counted
from protocol.message import UP, message

CONTENT = Struct("content_hex" / HexBytes() * "内容 content")

message(
    0x0304,
    "厂商信息上报",
    "vendor: text",
    Struct(
        "ack_serial" / Int16ub * "应答流水号 serial",
        "message_type" / Int8ub * "信息类型 kind",
        *counted("message", Int16ub, "信息", "text"),
        END,
    ),
    variants={"raw": CONTENT},  # others send the state of ACC by this id
    direction=UP,
)
for _id, _chinese, _name in (
    (0x0120, "厂商终端属性", "vendor: terminal's properties"),
    (0x0121, "厂商升级结果", "vendor: result of an upgrade"),
    (0x0210, "厂商位置批量上传", "vendor: batch of locations"),
    (0x0506, "厂商心跳", "vendor: heartbeat"),
    (0x1007, "厂商时区", "vendor: time zone"),
    (0x1300, "厂商文本应答", "vendor: reply in text"),
    (0x2070, "厂商加速度", "vendor: acceleration"),
    (0x5501, "厂商位置", "vendor: location"),
    (0x5502, "厂商盲区位置", "vendor: location from a blind zone"),
    (0x6006, "厂商文本应答", "vendor: reply in text"),
):
    message(_id, _chinese, _name, CONTENT, direction=UP)

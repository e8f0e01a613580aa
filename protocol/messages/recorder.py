"""行驶记录仪: the driving recorder of GB/T 19056. 2011 §8.36 to §8.38, 2013 §8.43 to §8.45, 2019 §8.42 to
§8.44.
"""

from typing import Any

from construct import Computed, Construct, Int8ub, Int16ub, Rebuild, Struct, this

from protocol.adapters import END, HexBytes, as_bytes
from protocol.edition import Edition
from protocol.message import DOWN, UP, Direction, message
from protocol.recorder import read_block, write_block

COMMAND = "command_id" / Int8ub * "命令字 command of GB/T 19056"


def packet(direction: Direction, fields: Any) -> bytes:
    """Give the bytes of `content_hex`, or those of `dvr` where there is none."""
    if fields.get("content_hex") is not None:
        return as_bytes(fields.content_hex)
    return write_block(direction, fields.dvr)


def block(direction: Direction, width: Any = None) -> tuple[Construct, ...]:
    """What the recorder is told or says: raw, and read where it is a packet of GB/T 19056."""
    return (
        "content_hex"
        / Rebuild(HexBytes(width), lambda this: packet(direction, this))
        * "数据块 a whole packet of GB/T 19056",
        "dvr"
        / Computed(lambda this: read_block(direction, as_bytes(this.content_hex)))
        * "数据包 the packet, see protocol.recorder",
    )


message(
    0x8700,
    "行驶记录数据采集命令",
    "read the recorder",
    Struct(COMMAND, *block(DOWN)),  # 2011 has the command only
    direction=DOWN,
    answer=0x0700,
    clause="2011 §8.36, 2013 §8.43, 2019 §8.42",
)
message(
    0x8701,
    "行驶记录参数下传命令",
    "set up the recorder",
    Struct(COMMAND, *block(DOWN)),
    direction=DOWN,
    clause="2011 §8.38 (which prints 0x8101), 2013 §8.45, 2019 §8.44",
)
message(
    0x0700,
    "行驶记录数据上传",
    "recorder's data",
    {
        Edition.E2011: Struct(
            COMMAND,
            "total_length" / Int16ub * "数据块总长度 bytes of all packets",
            "package_length" / Rebuild(Int16ub, lambda this: len(packet(UP, this))) * "包数据长度 here",
            *block(UP, this.package_length),
            END,
        ),
        Edition.E2013: Struct(
            "ack_serial" / Int16ub * "应答流水号 serial of the command", COMMAND, *block(UP)
        ),
    },
    direction=UP,
    clause="2011 §8.37, 2013 §8.44, 2019 §8.43",
)

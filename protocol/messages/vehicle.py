"""车辆控制类消息: doors and other controls. 2013 §8.33 and §8.34, 2019 §8.30 and §8.31."""

from construct import Array, Int8ub, Int16ub, Rebuild, Struct, len_, this

from protocol.adapters import END, HexBytes
from protocol.edition import Edition
from protocol.message import DOWN, UP, message
from protocol.messages.location import REPORT

CONTROL_ID = "control_id" / Int16ub * "控制类型ID 1 doors, 2 to 0x8000 reserved, 0xF001 on the maker's"

message(
    0x8500,
    "车辆控制",
    "control the vehicle",
    {
        Edition.E2011: Struct("flag" / Int8ub * "控制标志 bit 0: 0 unlocks, 1 locks the doors"),
        Edition.E2019: Struct(
            "count" / Rebuild(Int16ub, len_(this.items)) * "控制类型数量 controls",
            "items"
            / Array(
                this.count,
                Struct(CONTROL_ID, "param" / Int8ub * "控制参数 doors: 0 locks, 1 opens (unlike 2013)"),
            )
            * "控制类型 controls",
            END,
        ),
    },
    variants={
        "one without count": Struct(
            "control_type" / Int16ub * "控制类型 as control_id",
            "param" / Int8ub * "控制参数 as above",
            END,
        ),
        # The width of other parameters is theirs to define; only alone is it known.
        "one of the maker's": Struct(
            "count" / Int16ub * "控制类型数量 controls",
            CONTROL_ID,
            "param" / HexBytes() * "控制参数 parameter",
        ),
    },
    direction=DOWN,
    answer=0x0500,
    clause="2013 §8.33, 2019 §8.30",
)
message(
    0x0500,
    "车辆控制应答",
    "vehicle controlled",
    Struct(
        "ack_serial" / Int16ub * "应答流水号 serial of the command",
        "location" / REPORT * "位置信息汇报消息体 report whose status bits tell the result",
    ),
    direction=UP,
    clause="2013 §8.34, 2019 §8.31",
)

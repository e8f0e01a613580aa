"""终端参数: set, ask for and receive the parameters of a terminal. 2013 §8.9 to §8.12, 2019 §8.12 to §8.15.

The parameters themselves are in `protocol.parameters`. The prints of 2011 carry a second count, of this
packet.
"""

from construct import Array, Check, Construct, Default, Int8ub, Int16ub, Int32ub, Rebuild, Struct, len_, this

from protocol.edition import Edition
from protocol.message import DOWN, EMPTY, UP, message
from protocol.parameters import DETAILS, ParameterList

COUNT = "param_count" / Default(Int8ub, len_(this.params)) * "参数总数 parameters"
PARAMS = (
    "params" / ParameterList() * "参数项列表 parameters by id",
    "param_details" / DETAILS * "参数项 fields of the parameters that have several",
)
IN_PACKET = (
    "package_param_count" / Default(Int8ub, len_(this.params)) * "包参数个数 in this packet, 2011 only",
    *PARAMS,
    "is_packet"
    / Check(lambda this: this.package_param_count == len(this.params))
    * "没有字节 anything else is the layout of 2013",
)
ACK_SERIAL = "ack_serial" / Int16ub * "应答流水号 serial of the query"


def in_both_forms(*head: Construct) -> dict[Edition, Construct]:
    """Declare a list of 2011, whose packets are counted in the body, and of 2013."""
    return {
        Edition.E2011: Struct(*head, COUNT, *IN_PACKET),
        Edition.E2013: Struct(*head, COUNT, *PARAMS),
    }


message(
    0x8103,
    "设置终端参数",
    "set parameters",
    in_both_forms(),
    direction=DOWN,
    clause="2011 §8.8, 2013 §8.9, 2019 §8.12",
)
message(
    0x8104,
    "查询终端参数",
    "ask for all parameters",
    EMPTY,
    direction=DOWN,
    answer=0x0104,
    clause="2013 §8.10",
)
message(
    0x8106,
    "查询指定终端参数",
    "ask for some parameters",
    Struct(
        "count" / Rebuild(Int8ub, len_(this.param_ids)) * "参数总数 ids",
        "param_ids" / Array(this.count, Int32ub) * "参数ID列表 ids",
    ),
    direction=DOWN,
    answer=0x0104,
    since=Edition.E2013,
    clause="2013 §8.11, 2019 §8.14",
)
message(
    0x0104,
    "查询终端参数应答",
    "parameters",
    in_both_forms(ACK_SERIAL),
    direction=UP,
    clause="2011 §8.10, 2013 §8.12, 2019 §8.15",
)

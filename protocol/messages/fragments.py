"""分包补传, asking for lost fragments again. 2013 §8.4, 2019 §8.6 and §8.7.

The answer is the fragments themselves, unchanged; `protocol.frame` has the fragment's header.
"""

from construct import Array, Construct, Int8ub, Int16ub, Rebuild, Struct, len_, this

from protocol.adapters import END
from protocol.edition import Edition
from protocol.message import DOWN, UP, message


def missing(count: Construct) -> Construct:
    """Declare a request, whose count grew from BYTE to WORD in 2019."""
    return Struct(
        "original_serial" / Int16ub * "原始消息流水号 serial of the first fragment",
        "package_count" / Rebuild(count, len_(this.package_ids)) * "重传包总数 fragments asked for",
        "package_ids" / Array(this.package_count, Int16ub) * "重传包ID列表 their numbers, from 1",
        END,  # told from the other width by its length: some 2019 devices still count by BYTE
    )


MISSING = {Edition.E2013: missing(Int8ub), Edition.E2019: missing(Int16ub)}

message(
    0x8003,
    "服务器补传分包请求",
    "ask the terminal for fragments",
    MISSING,
    direction=DOWN,
    answer=None,
    clause="2013 §8.4, 2019 §8.6",
)
message(
    0x0005,
    "终端补传分包请求",
    "ask the platform for fragments",
    MISSING,
    direction=UP,
    answer=None,
    since=Edition.E2019,
    clause="2019 §8.7",
)

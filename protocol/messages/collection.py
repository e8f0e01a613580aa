"""信息采集类消息: way bills, drivers, CAN data. 2013 §8.46 to §8.50, 2019 §8.45 to §8.49.

Batches of location reports (0x0704) are in `protocol.messages.location`.
"""

from construct import (
    Array,
    Computed,
    IfThenElse,
    Int8ub,
    Int16ub,
    Int32ub,
    Prefixed,
    Rebuild,
    Struct,
    len_,
    this,
)

from protocol.adapters import (
    END,
    Among,
    BcdDate,
    BcdDay,
    BcdTime,
    DayTime,
    HexBytes,
    Text,
    Trailing,
    as_bytes,
)
from protocol.edition import Edition
from protocol.message import DOWN, EMPTY, UP, message

message(
    0x0701,
    "电子运单上报",
    "way bill",
    Struct(
        "length" / Rebuild(Int32ub, lambda this: len(as_bytes(this.content_hex))) * "电子运单长度 its bytes",
        "content_hex" / HexBytes(this.length) * "电子运单内容 way bill",
    ),
    direction=UP,
    clause="2013 §8.46, 2019 §8.45",
)
message(
    0x8702,
    "上报驾驶员身份信息请求",
    "ask who drives",
    EMPTY,
    direction=DOWN,
    answer=0x0702,
    since=Edition.E2013,
    clause="2013 §8.47, 2019 §8.46",
)

DRIVER_2011 = Struct(
    "driver_name" / Prefixed(Int8ub, Text()) * "驾驶员姓名 driver",
    "id_card_number" / Text(20) * "驾驶员身份证编码 identity card",
    "qualification_code" / Text(40) * "从业资格证编码 driver's licence of the trade",
    "issuing_authority" / Prefixed(Int8ub, Text()) * "发证机构名称 who issued it",
    END,
)
CARD_IN = 1
DRIVER = Struct(
    # A layout of 2011 begins with the length of a name, which in Chinese has at least four bytes.
    "card_status" / Among(Int8ub, (1, 2)) * "状态 1 card put in, at work; 2 card taken out, off work",
    "card_time" / BcdTime * "时间 when",
    "card_read_result"
    / Trailing(Int8ub)
    * "IC卡读取结果 0 read, 1 wrong key, 2 locked, 3 taken out, 4 bad check; only with status 1",
    "driver_name"
    / Trailing(Prefixed(Int8ub, Text()))
    * "驾驶员姓名 driver; from here on only after result 0",
    "qualification_code" / Trailing(Text(20)) * "从业资格证编码 driver's licence of the trade",
    "issuing_authority" / Trailing(Prefixed(Int8ub, Text())) * "发证机构名称 who issued it",
    # Behind the time nothing counts when the card is taken out: what stands there is shown as printed.
    "expiry_date"
    / Trailing(IfThenElse(this.card_status == CARD_IN, BcdDate, BcdDay))
    * "证件有效期 valid until",
)
message(
    0x0702,
    "驾驶员身份信息采集上报",
    "driver",
    {
        Edition.E2011: DRIVER_2011,
        Edition.E2013: DRIVER,
        Edition.E2019: DRIVER
        + Struct(
            "id_card_number" / Trailing(Text(20)) * "驾驶员身份证号 identity card",
            "face_match_value" / Trailing(Int8ub) * "人脸匹配度 percent, added by makers",
            "uid" / Trailing(Text(20)) * "终端UID added by makers",
        ),
    },
    direction=UP,
    clause="2011 §8.40, 2013 §8.48, 2019 §8.47",
)

message(
    0x0705,
    "CAN总线数据上传",
    "CAN data",
    Struct(
        "count" / Rebuild(Int16ub, len_(this.items)) * "数据项个数 entries",
        "first_receive_time" / DayTime * "CAN总线数据接收时间 of the first entry, hh:mm:ss.mmmm",
        "items"
        / Array(
            this.count,
            Struct(
                "can_id_raw" / Int32ub * "CAN总线ID及标志 id with the bits of the next four fields",
                "channel" / Computed(this.can_id_raw >> 31) * "CAN通道号 bit 31: 0 CAN1, 1 CAN2",
                "frame_type" / Computed(this.can_id_raw >> 30 & 1) * "帧类型 bit 30: 0 standard, 1 extended",
                "data_method"
                / Computed(this.can_id_raw >> 29 & 1)
                * "采集方式 bit 29: 0 as sent, 1 the mean",
                "can_id" / Computed(this.can_id_raw & 0x1FFFFFFF) * "CAN总线ID bits 0 to 28",
                "data" / HexBytes(8) * "CAN数据 data",
            ),
        )
        * "CAN总线数据项 entries",
    ),
    direction=UP,
    since=Edition.E2013,
    clause="2013 §8.50, 2019 §8.49",
)

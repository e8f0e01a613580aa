"""车辆报警信息交互业务: alarms up, supervision (督办) and warnings down. JT/T 809-2011 §4.5.5.

What kinds of alarm there are is in `protocol.jt809.words`. In 2019 the envelope names no vehicle any more;
messages that are about one name it themselves.
"""

from typing import Final

from construct import Construct, Int8ub, Int16ub, Int32ub, Struct

from protocol.adapters import END, HexBytes, Text
from protocol.jt809.adapters import PlatformId, SupervisionNumber, UtcSeconds
from protocol.jt809.dialect import Dialect
from protocol.jt809.fields import ALARMED_VEHICLE, HANDLING, PERIOD, SOURCE, text
from protocol.jt809.message import Envelope, group, message

CLAUSE: Final = "2011 §4.5.5"
NEW: Final = "2019"

ENVELOPES: Final = {Dialect.V1: Envelope.VEHICLE, Dialect.V3: Envelope.PLAIN}
UP: Final = group(0x1400, "主链路车辆报警信息交互业务", "alarms of the subordinate", ENVELOPES)
DOWN: Final = group(0x9400, "从链路车辆报警信息交互业务", "alarms of the superior", ENVELOPES)

WARN_TIME: Final = "warn_time" / UtcSeconds * "报警时间 when, UTC"
WARN: Final = (
    "warn_src" / Int8ub * "报警信息来源 1 terminal, 2 enterprise platform, 3 government platform, 9 other",
    "warn_type" / Int16ub * "报警类型 protocol.jt809.words.ALARM_TYPES",
    WARN_TIME,
)
INFO_ID: Final = "info_id" / Int32ub * "信息ID number of the alarm at the subordinate"
SUPERVISORS: Final = (
    "supervision_end_time" / UtcSeconds * "督办截止时间 deadline, UTC",
    "supervision_level" / Int8ub * "督办级别 0 urgent, 1 normal",
    "supervisor" / Text(16) * "督办人 who demands it",
    "supervisor_tel" / Text(20) * "督办联系电话 phone",
    "supervisor_email" / Text(32) * "督办联系电子邮件 mail",
)


def alarm_2019(*content: Construct, time: tuple[Construct, ...] = (WARN_TIME,)) -> Construct:
    """Declare an alarm as 2019 has it, up and down."""
    return Struct(
        "source_platform_id" / PlatformId * "发起报警平台唯一编码 platform that raised it",
        "warn_type" / Int16ub * "报警类型 protocol.jt809.words.ALARM_TYPES",
        *time,
        *PERIOD,
        *ALARMED_VEHICLE,
        "destination_platform_id" / PlatformId * "被报警平台唯一编码 platform that it is about",
        "drv_line_id" / Int32ub * "路线ID route as set by 0x8606 of JT/T 808",
        *content,
        END,
    )


INFO: Final = text("info_content", "报警信息内容", "text", length="info_length")
WARNING: Final = text("warn_content", "报警描述", "text", length="warn_length")
UP_2019: Final = alarm_2019(*INFO)
DOWN_2019: Final = alarm_2019(*WARNING)
UP_UNTIMED: Final = {"without warn_time": alarm_2019(*INFO, time=())}
DOWN_UNTIMED: Final = {"without warn_time": alarm_2019(*WARNING, time=())}
"""As platforms send it that were tested by the national one: only from when until when."""
DOWN_2011: Final = Struct(*WARN, *WARNING, END)

message(
    0x1401,
    "报警督办应答",
    "answer to a supervision",
    Struct("supervision_id" / SupervisionNumber * "报警督办ID number of the supervision", HANDLING),
    clause=CLAUSE,
)
message(
    0x1402,
    "上报报警信息",
    "alarm",
    {
        Dialect.V1: Struct(*WARN, INFO_ID, *INFO, END),
        Dialect.V3: UP_2019,
    },
    variants=UP_UNTIMED,
    clause=CLAUSE,
)
message(
    0x1403,
    "主动上报报警处理结果 (2019: 上报报警预警信息)",
    "how an alarm was handled (2019: warning)",
    {Dialect.V1: Struct(INFO_ID, HANDLING, END), Dialect.V3: UP_2019},
    variants=UP_UNTIMED,
    clause=CLAUSE,
)
SOURCE_HANDLING: Final = Struct(*SOURCE, HANDLING)
message(0x1411, "上报报警督办应答", "answer to a supervision", SOURCE_HANDLING, since=Dialect.V3, clause=NEW)
message(
    0x1412, "主动上报报警处理结果", "how an alarm was handled", SOURCE_HANDLING, since=Dialect.V3, clause=NEW
)
message(
    0x1413,
    "上报报警督办请求",
    "demand a supervision",
    Struct(
        "source_platform_id" / PlatformId * "发起报警平台唯一编码 platform that raised the alarm",
        WARN_TIME,
        *SOURCE,
        *SUPERVISORS,
    ),
    since=Dialect.V3,
    clause=NEW,
)
message(
    0x9401,
    "报警督办请求",
    "supervise an alarm",
    Struct(
        *WARN, "supervision_id" / HexBytes(4) * "报警督办ID number of the supervision, in hex", *SUPERVISORS
    ),
    answer=0x1401,
    clause=CLAUSE,
)
DOWN_ALARM: Final = {Dialect.V1: DOWN_2011, Dialect.V3: DOWN_2019}
message(0x9402, "报警预警", "warning", DOWN_ALARM, variants=DOWN_UNTIMED, clause=CLAUSE)
message(
    0x9403,
    "实时交换报警信息",
    "alarm of a vehicle from elsewhere",
    DOWN_ALARM,
    variants=DOWN_UNTIMED,
    clause=CLAUSE,
)

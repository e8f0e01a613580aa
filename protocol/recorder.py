"""汽车行驶记录仪, the driving recorder: packets of GB/T 19056-2012 in 0x8700, 0x8701 and 0x0700.

A packet (appendix A of the standard) is mark WORD, command BYTE, length of the data WORD, reserved BYTE,
data, checksum BYTE: the exclusive or of all bytes before it. The mark says who speaks, 0xAA75 the reader and
0x557A the recorder; platforms and terminals confuse the two, so the message that carries the packet decides.
A recorder that did not understand answers with 0xFA or 0xFB for a command, and then neither length nor data
follow.

`read_block` gives a packet as

    {"mark": "557a", "command_id": 2, "command": "…", "reserved": 0, "data": {"time": …}, "checksum": 37}

`data` is hex where the command is not declared or its data does not fit, and absent where there is none. A
wrong checksum is named in `error`. What a platform sends is written by `write_block`, which needs
`command_id` and `data`.
"""

from dataclasses import dataclass
from typing import Any, Final

from construct import (
    Adapter,
    Array,
    Bytes,
    Computed,
    Construct,
    GreedyRange,
    Int8ub,
    Int16sb,
    Int16ub,
    Int32sb,
    Select,
    Struct,
    Terminated,
)

from protocol.adapters import BcdDigits, BcdTime, HexBytes, Text, as_bytes
from protocol.body import read, write
from protocol.errors import BodyError, LocalProtocolError
from protocol.frame import checksum
from protocol.message import DOWN, UP, Direction

TO_RECORDER, FROM_RECORDER = b"\xaa\x75", b"\x55\x7a"
"""起始字头, by who speaks."""

FAULTS: Final = {0xFA: "采集命令接收出错 reading refused", 0xFB: "设置命令接收出错 setting refused"}
"""出错标志字, in the place of the command."""

HEAD: Final = 6
FAULT: Final = 5
"""Bytes of a whole packet that tells a fault."""

MAX_DATA: Final = 0xFFFF
NO_POSITION: Final = 0x7FFFFFFF
"""A coordinate that was not known."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command of the recorder, in one direction."""

    id: int
    """命令字."""
    direction: Direction
    """UP: what the recorder gives. DOWN: what it is asked or told."""
    name: str
    chinese: str
    declaration: Construct
    clause: str


COMMANDS: Final[dict[tuple[Direction, int], Command]] = {}
"""Every declared command by direction and id. Commands that are missing here carry no data."""


def command(
    id: int, chinese: str, name: str, *, up: Construct | None = None, down: Construct | None = None
) -> None:
    """Declare what a command carries in each direction.

    Raises:
        ValueError: it is declared already.
    """
    for direction, declaration in ((UP, up), (DOWN, down)):
        if (direction, id) in COMMANDS:
            raise ValueError(f"recorder command {id:#04x} is declared twice")
        if declaration is not None:
            clause = f"GB/T 19056-2012 appendix A, command {id:02X}H"
            COMMANDS[direction, id] = Command(id, direction, name, chinese, declaration, clause)


class _Tenths(Adapter):  # type: ignore[misc]
    """BCD of 0.1 km as km; other nibbles stay hex."""

    def _decode(self, obj: bytes, context: Any, path: Any) -> float | str:
        return int(obj.hex()) / 10 if obj.hex().isdecimal() else obj.hex()

    def _encode(self, obj: float | str, context: Any, path: Any) -> bytes:
        return bytes.fromhex(obj if isinstance(obj, str) else f"{round(obj * 10):08}")


def _degrees(raw: str) -> Construct:
    return Computed(lambda this: None if this[raw] == NO_POSITION else this[raw] / 600_000)


# Fields that several commands share

NOW: Final = "time" / BcdTime * "记录仪实时时间 the recorder's clock"
DRIVER: Final = "driver_license" / Text(18) * "机动车驾驶证号码 driver's licence"
SPEED: Final = "speed_kmh" / Int8ub * "速度 speed, 0xFF unknown"
SIGNALS: Final = (
    "signals"
    / Int8ub
    * "状态信号 bits 7 brake, 6 left, 5 right turn, 4 high, 3 low beam; 0 to 2 by command 06"
)
PLACE: Final = Struct(
    "longitude_raw" / Int32sb * "经度 0.0001 minute, east positive; 0x7FFFFFFF unknown",
    "latitude_raw" / Int32sb * "纬度 0.0001 minute, north positive; 0x7FFFFFFF unknown",
    "altitude_m" / Int16sb * "海拔高度 altitude",
    "longitude" / _degrees("longitude_raw") * "经度 longitude in degrees",
    "latitude" / _degrees("latitude_raw") * "纬度 latitude in degrees",
)
VEHICLE: Final = Struct(
    "vin" / Text(17) * "车辆识别代号 VIN",
    "plate_number" / Text(12) * "机动车号牌号码 plate",
    "plate_type" / Text(12) * "机动车号牌分类 kind of plate",
)
PULSES: Final = Struct(NOW, "pulses_per_km" / Int16ub * "脉冲系数 pulses per km")
MILEAGE: Final = Struct(
    NOW,
    "installed" / BcdTime * "初次安装时间 when it was installed",
    "initial_mileage_km" / _Tenths(Bytes(4)) * "初始里程 km before that",
    "mileage_km" / _Tenths(Bytes(4)) * "累计行驶里程 km since",
)
SIGNAL_NAMES: Final = Struct(
    NOW,
    "signal_bytes" / Int8ub * "状态信号字节个数 bytes of signals",
    "names" / GreedyRange(Text(10)) * "各状态位名称 what D0 to D7 mean",
)
PERIOD: Final = Struct(
    "start_time" / BcdTime * "开始时间 from",
    "end_time" / BcdTime * "结束时间 until",
    "max_blocks" / Int16ub * "最大单位数据块个数 blocks at most",
)
"""What recordings are asked for by commands 08H to 15H."""


def blocks(*fields: Construct) -> Construct:
    """Recordings: blocks of these fields, as many as there are."""
    return Struct("blocks" / GreedyRange(Struct(*fields)) * "单位数据块 recordings")


command(
    0x00,
    "记录仪执行标准版本",
    "edition of the recorder's standard",
    up=Struct(
        "standard_year" / BcdDigits(1) * "执行标准年号后2位 last digits of the year",
        "amendment" / Int8ub * "修改单号 amendment, 0 none",
    ),
)
command(0x01, "当前驾驶人信息", "driver", up=Struct(DRIVER))
command(0x02, "记录仪实时时间", "clock", up=Struct(NOW))
command(0x03, "累计行驶里程", "mileage", up=MILEAGE)
command(0x04, "记录仪脉冲系数", "pulses", up=PULSES)
command(0x05, "车辆信息", "vehicle", up=VEHICLE)
command(0x06, "状态信号配置信息", "names of signals", up=SIGNAL_NAMES)
command(
    0x07,
    "记录仪唯一性编号",
    "the recorder's number",
    up=Struct(
        "ccc_code" / Text(7) * "生产厂CCC认证代码 certified maker",
        "model" / Text(16) * "认证产品型号 certified model",
        "production_date" / BcdDigits(3) * "生产日期 made on YYMMDD",
        "serial_number" / HexBytes(4) * "产品生产流水号 number",
        "reserved" / HexBytes(5) * "备用 reserved",
    ),
)
command(
    0x08,
    "行驶速度记录",
    "speeds",
    up=blocks(
        "start_time" / BcdTime * "开始时间 of this minute",
        "seconds" / Array(60, Struct(SPEED, SIGNALS)) * "每秒数据 mean speed and signals of each second",
    ),
    down=PERIOD,
)
command(
    0x09,
    "位置信息记录",
    "positions",
    up=blocks(
        "start_time" / BcdTime * "开始时间 of this hour",
        "minutes" / Array(60, PLACE + Struct(SPEED)) * "每分钟数据 place and mean speed of each minute",
    ),
    down=PERIOD,
)
command(
    0x10,
    "事故疑点记录",
    "suspected accidents",
    up=blocks(
        "end_time" / BcdTime * "行驶结束时间 when it ended",
        DRIVER,
        "samples"
        / Array(100, Struct(SPEED, SIGNALS))
        * "停车前20s数据 each 0.2 s of the last 20 s, the last one first",
        "place" / PLACE * "最后有效位置 last known place",
    ),
    down=PERIOD,
)
command(
    0x11,
    "超时驾驶记录",
    "drives that lasted too long",
    up=blocks(
        DRIVER,
        "start_time" / BcdTime * "连续驾驶开始时间 from",
        "end_time" / BcdTime * "连续驾驶结束时间 until",
        "start_place" / PLACE * "开始位置 where it began",
        "end_place" / PLACE * "结束位置 where it ended",
    ),
    down=PERIOD,
)
command(
    0x12,
    "驾驶人身份记录",
    "drivers",
    up=blocks(
        "time" / BcdTime * "事件发生时间 when",
        DRIVER,
        "event_type" / Int8ub * "事件类型 1 signed in, 2 signed out",
    ),
    down=PERIOD,
)
command(
    0x13,
    "外部供电记录",
    "external power",
    up=blocks("time" / BcdTime * "事件发生时间 when", "event_type" / Int8ub * "事件类型 1 on, 2 off"),
    down=PERIOD,
)
command(
    0x14,
    "参数修改记录",
    "settings changed",
    up=blocks(
        "time" / BcdTime * "事件发生时间 when", "event_type" / Int8ub * "事件类型 the command, e.g. 0xC2"
    ),
    down=PERIOD,
)
command(
    0x15,
    "速度状态日志",
    "whether speeds are right",
    up=blocks(
        "status" / Int8ub * "速度状态 1 normal, 2 abnormal",
        "start_time" / BcdTime * "判定开始时间 from",
        "end_time" / BcdTime * "判定结束时间 until",
        "seconds"
        / Array(
            60,
            Struct(
                "recorder_speed_kmh" / Int8ub * "记录速度 by the recorder",
                "reference_speed_kmh" / Int8ub * "参考速度 by GNSS",
            ),
        )
        * "每秒速度 both speeds of each second",
    ),
    down=PERIOD,
)
command(0x82, "设置车辆信息", "set the vehicle", down=VEHICLE)
command(
    0x83,
    "设置记录仪初次安装日期",
    "set when it was installed",
    down=Struct("installed" / BcdTime * "初次安装日期"),
)
command(
    0x84,
    "设置状态信号配置信息",
    "set the names of signals",
    # Some platforms send the names alone.
    down=Select(
        SIGNAL_NAMES + Terminated,
        Struct("names" / Array(8, Text(10)) * "各状态位名称 what D0 to D7 mean", Terminated),
    ),
)
command(0xC2, "设置记录仪时间", "set the clock", down=Struct(NOW))
command(0xC3, "设置记录仪脉冲系数", "set the pulses", down=PULSES)
command(
    0xC4,
    "设置初始里程",
    "set the initial mileage",
    # Some platforms send the initial mileage alone.
    down=Select(
        MILEAGE + Terminated,
        Struct("initial_mileage_km" / _Tenths(Bytes(4)) * "初始里程 km before", Terminated),
    ),
)


def read_block(direction: Direction, block: bytes) -> dict[str, Any] | None:
    """Read a packet that a message of this direction carries; None where the bytes are no packet."""
    if len(block) < FAULT or block[:2] not in (TO_RECORDER, FROM_RECORDER):
        return None
    is_fault = len(block) == FAULT and block[2] in FAULTS
    length = 0 if is_fault else int.from_bytes(block[3:5])
    if not is_fault and len(block) != HEAD + length + 1:
        return None
    fields: dict[str, Any] = {"mark": block[:2].hex(), "command_id": block[2]}
    declared = COMMANDS.get((direction, block[2]))
    fields["command"] = _name(direction, block[2])
    fields["reserved"] = block[3 if is_fault else 5]
    if length:
        data = block[HEAD:-1]
        fields["data"] = data.hex() if declared is None else _read_data(declared, data)
    fields["checksum"] = block[-1]
    if checksum(block):
        fields["error"] = f"checksum is {block[-1]:#04x}, of these bytes it is {checksum(block[:-1]):#04x}"
    return fields


def _name(direction: Direction, id: int) -> str:
    declared = COMMANDS.get((direction, id)) or COMMANDS.get((UP if direction is DOWN else DOWN, id))
    return f"{declared.chinese} {declared.name}" if declared else FAULTS.get(id, "unknown")


def _read_data(declared: Command, data: bytes) -> dict[str, Any] | str:
    try:
        fields: dict[str, Any] = read(declared.declaration, data)
    except BodyError:
        return data.hex()
    return data.hex() if "rest" in fields else fields


def write_block(direction: Direction, fields: dict[str, Any]) -> bytes:
    """Write a packet from `command_id` and, where the command has some, `data`: fields, or their hex.

    `mark`, `reserved` and `checksum` are written as they are given; without them, as the standard has them.

    Raises:
        LocalProtocolError: the command is not declared and its data no hex, or a field does not fit.
    """
    try:
        id, data = fields["command_id"], fields.get("data", b"")
    except KeyError as error:
        raise LocalProtocolError(f"recorder packet without {error}") from None
    if isinstance(data, dict):
        declared = COMMANDS.get((direction, id))
        if declared is None:
            raise LocalProtocolError(f"recorder command {id:#04x} carries no fields here: give data as hex")
        data = write(declared.declaration, data)
    data = as_bytes(data)
    if len(data) > MAX_DATA:
        raise LocalProtocolError(f"recorder packet with {len(data)} bytes, at most {MAX_DATA} fit")
    mark = as_bytes(fields.get("mark", TO_RECORDER if direction is DOWN else FROM_RECORDER))
    length = b"" if id in FAULTS and not data else len(data).to_bytes(2)
    block = mark + bytes((id,)) + length + bytes((fields.get("reserved", 0),)) + data
    return block + bytes((fields.get("checksum", checksum(block)),))

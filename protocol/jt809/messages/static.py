"""车辆静态信息交换业务: what a vehicle is, asked for and given. JT/T 809-2011 §4.5.7.

`car_info` is text of `NAME:=value` pairs between semicolons; `static_info` and `static_text` convert it.
"""

from typing import Final

from construct import Struct

from protocol.adapters import Text
from protocol.jt809.adapters import Carried
from protocol.jt809.dialect import Dialect
from protocol.jt809.fields import SOURCE
from protocol.jt809.message import group, message

CLAUSE: Final = "2011 §4.5.7"

UP: Final = group(0x1600, "主链路车辆静态信息交换业务", "static data of the subordinate")
DOWN: Final = group(0x9600, "从链路车辆静态信息交换业务", "static data of the superior")

CAR_INFO: Final = "car_info" / Text() * "车辆信息 static data, NAME:=value;…"

message(0x9601, "补报车辆静态信息请求", "ask what a vehicle is", answer=0x1601, clause=CLAUSE)
message(
    0x1601,
    "补报车辆静态信息应答",
    "what a vehicle is",
    {Dialect.V1: Struct(CAR_INFO), Dialect.V3: Struct(*SOURCE, CAR_INFO)},
    clause=CLAUSE,
)
message(
    0x1602,
    "补报车辆行驶路线信息",
    "route of a vehicle",
    Struct("drv_line" / Carried(0x8606) * "车辆行驶路线信息 route, as 0x8606 of JT/T 808 sets it"),
    since=Dialect.V3,
    clause="2019",
)


def static_info(text: str) -> dict[str, str]:
    """Read 车辆静态信息 as names and values, e.g. {"VIN": "粤A12345", "VEHICLE_COLOR": "1"}."""
    pairs = (pair.partition(":=") for pair in text.split(";"))
    return {name.strip(): value.strip() for name, is_pair, value in pairs if is_pair}


def static_text(info: dict[str, str]) -> str:
    """Write what `static_info` reads."""
    return ";".join(f"{name}:={value}" for name, value in info.items())

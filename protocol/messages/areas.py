"""车辆管理类消息: areas and routes that a terminal watches. 2013 §8.35 to §8.42, 2019 §8.32 to §8.41.

Optional fields are there by the bits of the attribute. Coordinates are magnitudes in every edition;
`hemisphere` says of the attribute's bits where they lie, e.g. "NE". A time in which the date is 0 means
every day and stays raw: "000000083000" is 08:30.
"""

from collections.abc import Mapping

from construct import (
    Array,
    Computed,
    Construct,
    Int8ub,
    Int16ub,
    Int32ub,
    Prefixed,
    Rebuild,
    Struct,
    len_,
    this,
)

from protocol.adapters import END, Among, BcdTime, HexBytes, Text, When, numbered
from protocol.edition import Edition
from protocol.message import DOWN, UP, message

TIMED, LIMITED = 1, 2
"""Bits of the attribute of areas, routes and sections: it has times, it has a speed limit."""

CIRCLE, RECTANGLE, POLYGON, ROUTE = 1, 2, 3, 4
"""查询类型 of 0x8608 and 0x0608."""


def point(name: str, chinese: str) -> tuple[Construct, ...]:
    """Two coordinates, raw and in degrees. `name` is a prefix, e.g. "center_"."""
    fields = []
    for axis, one, what in (("latitude", "纬度", "latitude"), ("longitude", "经度", "longitude")):
        raw = f"{name}{axis}_raw"
        fields.append(raw / Int32ub * f"{chinese}{one} {what}, 1e-6 degree without sign")
        fields.append(f"{name}{axis}" / Computed(lambda this, raw=raw: this[raw] / 1e6) * f"{one} in degrees")
    return tuple(fields)


def hemisphere(south: int, west: int) -> Construct:
    """Where the coordinates lie by two bits of the attribute; it has no bytes of its own."""
    place = Computed(
        lambda this: ("S" if this.attribute & south else "N") + ("W" if this.attribute & west else "E")
    )
    return "hemisphere" / place * "半球 N or S and E or W, by the attribute"


AREA_ATTRIBUTE = (
    "attribute"
    / Int16ub
    * "区域属性 bits: 0 times, 1 limit; reports entering 2 to driver, 3 to platform, leaving 4, 5; 6 "
    "south, 7 west,"
    "8 no doors, 14 radio off inside, 15 detailed GNSS data inside"
)
TIMES = (
    "start_time" / When(this.attribute & TIMED, BcdTime) * "起始时间 from, only with attribute bit 0",
    "end_time" / When(this.attribute & TIMED, BcdTime) * "结束时间 until, only with attribute bit 0",
)
LIMIT = (
    "max_speed_kmh" / When(this.attribute & LIMITED, Int16ub) * "最高速度 limit, only with attribute bit 1",
    "overspeed_duration_s"
    / When(this.attribute & LIMITED, Int8ub)
    * "超速持续时间 before it counts, only with attribute bit 1",
)
NIGHT = (
    "night_max_speed_kmh"
    / When(this.attribute & LIMITED, Int16ub)
    * "夜间最高速度 limit at night, only with attribute bit 1; since 2019"
)
NIGHT_OF_POLYGON = (
    "night_max_speed_kmh"
    / When(this.attribute & LIMITED, Int16ub, otherwise=0)
    * "夜间最高速度 limit at night, 0 for none, on the wire only with attribute bit 1; since 2019"
)
NAME = "name" / Prefixed(Int16ub, Text()) * "区域名称 name, behind its length; since 2019"


def circle(*more: Construct) -> Construct:
    """One circular area."""
    return Struct(
        "area_id" / Int32ub * "区域ID area",
        AREA_ATTRIBUTE,
        *point("center_", "中心点"),
        hemisphere(south=1 << 6, west=1 << 7),
        "radius_m" / Int32ub * "半径 radius",
        *TIMES,
        *LIMIT,
        *more,
    )


def rectangle(*more: Construct) -> Construct:
    """One rectangular area."""
    return Struct(
        "area_id" / Int32ub * "区域ID area",
        AREA_ATTRIBUTE,
        *point("top_left_", "左上点"),
        *point("bottom_right_", "右下点"),
        hemisphere(south=1 << 6, west=1 << 7),
        *TIMES,
        *LIMIT,
        *more,
    )


def areas(item: Construct, by_packet: Construct | None = None) -> Construct:
    """0x8600 and 0x8602: a list of areas to set."""
    return Struct(
        "action" / Int8ub * "设置属性 0 replace, 1 add, 2 change",
        *numbered("items", item, ("count", Int8ub), "区域", by_packet=by_packet),
    )


def polygon(*more: Construct, by_packet: Construct | None = None) -> Construct:
    """0x8604: one area of any shape."""
    vertex = Struct(*point("", "顶点"))
    return Struct(
        "area_id" / Int32ub * "区域ID area",
        AREA_ATTRIBUTE,
        hemisphere(south=1 << 6, west=1 << 7),
        *TIMES,
        *LIMIT,
        *numbered("vertices", vertex, ("vertex_count", Int16ub), "顶点", by_packet=by_packet),
        *more,
    )


SECTION_ATTRIBUTE = "attribute" / Int8ub * "路段属性 bits 0 driving time, 1 limit, 2 south, 3 west"
SECTION_PLACE = (
    *point("", "拐点"),
    "width_m" / Int8ub * "路段宽度 width of the section from this waypoint to the next",
    SECTION_ATTRIBUTE,
    hemisphere(south=1 << 2, west=1 << 3),
)
WAYPOINT = (
    "waypoint_id" / Int32ub * "拐点ID waypoint",
    "section_id" / Int32ub * "路段ID section",
    *SECTION_PLACE,
    "max_drive_time_s"
    / When(this.attribute & TIMED, Int16ub)
    * "路段行驶过长阈值 longest drive, only with attribute bit 0",
    "min_drive_time_s"
    / When(this.attribute & TIMED, Int16ub)
    * "路段行驶不足阈值 shortest drive, only with attribute bit 0",
    *LIMIT,
)
WAYPOINT_2011 = (
    "section_id" / Int32ub * "路段ID section",
    *SECTION_PLACE,
    "drive_time_s" / When(this.attribute & TIMED, Int16ub) * "路段行驶时长 drive, only with attribute bit 0",
    *LIMIT,
)


def route(waypoint: tuple[Construct, ...], *more: Construct, by_packet: Construct | None = None) -> Construct:
    """0x8606: one route."""
    return Struct(
        "route_id" / Int32ub * "路线ID route",
        "attribute"
        / Int16ub
        * "路线属性 bits 0 times; reports entering 2 to driver, 3 to platform, leaving 4, 5",
        *TIMES,
        *numbered("items", Struct(*waypoint), ("count", Int16ub), "拐点", by_packet=by_packet),
        *more,
    )


CIRCLES = areas(circle(NIGHT, NAME))
RECTANGLES = areas(rectangle(NIGHT, NAME))
POLYGON_2019 = polygon(NIGHT_OF_POLYGON, NAME)
ROUTE_2019 = route((*WAYPOINT, NIGHT), NAME)


def setting(
    id: int, chinese: str, name: str, layouts: tuple[Construct, Construct, Construct], clause: str
) -> None:
    """Declare a message that sets areas or a route, by its layouts of 2011, 2013 and 2019."""
    by_edition: Mapping[Edition, Construct] = {
        edition: layout + Struct(END) for edition, layout in zip(Edition, layouts, strict=True)
    }
    message(id, chinese, name, by_edition, direction=DOWN, clause=clause)


def deleting(id: int, chinese: str, name: str, clause: str) -> None:
    """Declare a message that deletes areas or routes by their ids."""
    message(
        id,
        chinese,
        name,
        Struct(
            "count" / Rebuild(Int8ub, len_(this.ids)) * "区域数 at most 125; 0 deletes all of this kind",
            "ids" / Array(this.count, Int32ub) * "区域ID列表 areas or routes",
        ),
        direction=DOWN,
        clause=clause,
    )


setting(
    0x8600,
    "设置圆形区域",
    "set circular areas",
    (areas(circle(), by_packet=Int8ub), areas(circle()), CIRCLES),
    "2011 §8.28, 2013 §8.35, 2019 §8.32",
)
deleting(0x8601, "删除圆形区域", "delete circular areas", "2013 §8.36, 2019 §8.33")
setting(
    0x8602,
    "设置矩形区域",
    "set rectangular areas",
    (areas(rectangle(), by_packet=Int8ub), areas(rectangle()), RECTANGLES),
    "2011 §8.30, 2013 §8.37, 2019 §8.34",
)
deleting(0x8603, "删除矩形区域", "delete rectangular areas", "2013 §8.38, 2019 §8.35")
setting(
    0x8604,
    "设置多边形区域",
    "set an area of any shape",
    (polygon(by_packet=Int8ub), polygon(), POLYGON_2019),
    "2011 §8.32, 2013 §8.39, 2019 §8.36",
)
deleting(0x8605, "删除多边形区域", "delete areas of any shape", "2013 §8.40, 2019 §8.37")
setting(
    0x8606,
    "设置路线",
    "set a route",
    (
        route(WAYPOINT_2011, by_packet=Int8ub),
        route(WAYPOINT),
        ROUTE_2019,
    ),
    "2011 §8.34, 2013 §8.41, 2019 §8.38",
)
deleting(0x8607, "删除路线", "delete routes", "2013 §8.42, 2019 §8.39")

QUERY_TYPE = "query_type" / Int8ub * "查询类型 1 circles, 2 rectangles, 3 polygons, 4 routes"
message(
    0x8608,
    "查询区域或线路数据",
    "ask for areas or routes",
    Struct(
        QUERY_TYPE,
        "count" / Rebuild(Int32ub, len_(this.ids)) * "要查询的ID数量 ids; 0 asks for all",
        "ids" / Array(this.count, Int32ub) * "ID列表 areas or routes",
    ),
    direction=DOWN,
    answer=0x0608,
    since=Edition.E2019,
    clause="2019 §8.40",
)


def answered(name: str, kind: int, data: Construct, chinese: str) -> Construct:
    """One of the four lists of 0x0608."""
    return (
        name
        / When(this.query_type == kind, Array(this.count, data))
        * f"{chinese} as the message that sets them"
    )


def _answers(this: Mapping[str, object]) -> int:
    lists = (this.get(name) for name in ("circles", "rectangles", "polygons", "routes"))
    return next((len(found) for found in lists if isinstance(found, list)), 0)


message(
    0x0608,
    "查询区域或线路数据应答",
    "areas or routes",
    Struct(
        "query_type" / Among(Int8ub, (CIRCLE, RECTANGLE, POLYGON, ROUTE)) * "查询类型 as asked",
        "count" / Rebuild(Int32ub, _answers) * "查询返回的数据数量 entries",
        answered("circles", CIRCLE, CIRCLES, "圆形区域"),
        answered("rectangles", RECTANGLE, RECTANGLES, "矩形区域"),
        answered("polygons", POLYGON, POLYGON_2019, "多边形区域"),
        answered("routes", ROUTE, ROUTE_2019, "路线"),
        END,
    ),
    variants={
        # Table 61 prints DWORD for each entry, which its own description contradicts.
        "ids": Struct(
            QUERY_TYPE,
            *numbered("ids", Int32ub, ("count", Int32ub), "区域或线路ID"),
            END,
        ),
        "unread": Struct(
            QUERY_TYPE,
            "count" / Int32ub * "查询返回的数据数量 entries",
            "content_hex" / HexBytes() * "数据 entries in another form",
        ),
    },
    direction=UP,
    since=Edition.E2019,
    clause="2019 §8.41",
)

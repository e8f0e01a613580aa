"""The 32 alarm bits and the status bits of a location report, edition by edition.

JT/T 808-2011 tables 18 and 19, 808-2013 tables 24 and 25, 808-2019 tables 25 and 26. Bits 3, 15 to 17, 29
and 31 of the alarm word change their meaning between editions, so a bit is read only together with the
terminal's edition. Where a table here has no entry, the edition reserves the bit.

How a bit **ends** decides what an alarm is. A bit that the terminal holds until the condition is over
(标志维持至报警条件解除) ends `by_terminal`: it opens on 0 → 1 and closes on 1 → 0. A bit that the terminal
clears as soon as any 0x8001 answers it (收到应答后清零) says nothing about the end of its condition: such an
alarm ends `by_operator`, who handles it.
"""

from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Final, TypeVar

from protocol.edition import Edition


class Ends(StrEnum):
    """Who ends an alarm."""

    BY_TERMINAL = "by_terminal"
    BY_OPERATOR = "by_operator"


class Severity(IntEnum):
    """报警级别: how quickly a person must look. A default; profiles and rules may say otherwise."""

    EMERGENCY = 1
    URGENT = 2
    WARNING = 3
    NOTICE = 4


@dataclass(frozen=True, slots=True)
class AlarmBit:
    """One bit of the alarm word (报警标志)."""

    bit: int
    name: str
    """Stable snake_case name of the condition, the same in every edition that means the same."""
    chinese: str
    severity: Severity
    ends: Ends = Ends.BY_TERMINAL
    confirmable: bool = False
    """The bit can be cleared at the terminal by 0x8203 (人工确认报警消息), 808-2013 table 36."""
    is_fault: bool = False
    """The equipment is faulty: a reason for a repair ticket rather than for the desk."""


@dataclass(frozen=True, slots=True)
class StatusBit:
    """One bit, or one field of adjacent bits, of the status word (状态)."""

    bit: int
    name: str
    chinese: str
    width: int = 1

    def value(self, status: int) -> int:
        """Read the bit or field from a status word."""
        return status >> self.bit & ((1 << self.width) - 1)


Row = TypeVar("Row", AlarmBit, StatusBit)

EMERGENCY, URGENT, WARNING, NOTICE = Severity
BY_OPERATOR = Ends.BY_OPERATOR

_ALARMS_2013 = (
    AlarmBit(0, "emergency", "紧急报警", EMERGENCY, BY_OPERATOR, confirmable=True),
    AlarmBit(1, "overspeed", "超速报警", URGENT),
    AlarmBit(2, "fatigue", "疲劳驾驶", URGENT),
    AlarmBit(3, "danger_warning", "危险预警", URGENT, BY_OPERATOR, confirmable=True),
    AlarmBit(4, "gnss_fault", "GNSS模块发生故障", NOTICE, is_fault=True),
    AlarmBit(5, "gnss_antenna_open", "GNSS天线未接或被剪断", NOTICE, is_fault=True),
    AlarmBit(6, "gnss_antenna_short", "GNSS天线短路", NOTICE, is_fault=True),
    AlarmBit(7, "power_low", "终端主电源欠压", NOTICE, is_fault=True),
    AlarmBit(8, "power_lost", "终端主电源掉电", WARNING, is_fault=True),
    AlarmBit(9, "display_fault", "终端LCD或显示器故障", NOTICE, is_fault=True),
    AlarmBit(10, "tts_fault", "TTS模块故障", NOTICE, is_fault=True),
    AlarmBit(11, "camera_fault", "摄像头故障", NOTICE, is_fault=True),
    AlarmBit(12, "ic_card_fault", "道路运输证IC卡模块故障", NOTICE, is_fault=True),
    AlarmBit(13, "overspeed_warning", "超速预警", NOTICE),
    AlarmBit(14, "fatigue_warning", "疲劳驾驶预警", NOTICE),
    AlarmBit(18, "driving_time_exceeded", "当天累计驾驶超时", WARNING),
    AlarmBit(19, "parked_too_long", "超时停车", NOTICE),
    AlarmBit(20, "area_crossed", "进出区域", NOTICE, BY_OPERATOR, confirmable=True),
    AlarmBit(21, "route_crossed", "进出路线", NOTICE, BY_OPERATOR, confirmable=True),
    AlarmBit(22, "section_time", "路段行驶时间不足/过长", NOTICE, BY_OPERATOR, confirmable=True),
    AlarmBit(23, "route_deviation", "路线偏离报警", WARNING),
    AlarmBit(24, "vss_fault", "车辆VSS故障", NOTICE, is_fault=True),
    AlarmBit(25, "fuel_abnormal", "车辆油量异常", WARNING),
    AlarmBit(26, "stolen", "车辆被盗", EMERGENCY),
    AlarmBit(27, "illegal_ignition", "车辆非法点火", URGENT, BY_OPERATOR, confirmable=True),
    AlarmBit(28, "illegal_displacement", "车辆非法位移", URGENT, BY_OPERATOR, confirmable=True),
    AlarmBit(29, "collision_warning", "碰撞预警", URGENT),
    AlarmBit(30, "rollover_warning", "侧翻预警", URGENT),
    AlarmBit(31, "illegal_door_opening", "非法开门报警", WARNING, BY_OPERATOR),
)

_STATUSES_2013 = (
    StatusBit(0, "acc_on", "ACC开"),
    StatusBit(1, "positioned", "定位"),
    StatusBit(2, "south", "南纬"),
    StatusBit(3, "west", "西经"),
    StatusBit(4, "out_of_service", "停运状态"),
    StatusBit(5, "encrypted", "经纬度已经保密插件加密"),
    StatusBit(8, "load", "空车/半载/保留/满载", width=2),
    StatusBit(10, "oil_cut", "车辆油路断开"),
    StatusBit(11, "circuit_cut", "车辆电路断开"),
    StatusBit(12, "doors_locked", "车门加锁"),
    StatusBit(13, "door_1_open", "门1开（前门）"),
    StatusBit(14, "door_2_open", "门2开（中门）"),
    StatusBit(15, "door_3_open", "门3开（后门）"),
    StatusBit(16, "door_4_open", "门4开（驾驶席门）"),
    StatusBit(17, "door_5_open", "门5开（自定义）"),
    StatusBit(18, "gps_used", "使用GPS卫星进行定位"),
    StatusBit(19, "beidou_used", "使用北斗卫星进行定位"),
    StatusBit(20, "glonass_used", "使用GLONASS卫星进行定位"),
    StatusBit(21, "galileo_used", "使用Galileo卫星进行定位"),
)

_ALARMS_ADDED_IN_2019 = (
    AlarmBit(3, "dangerous_driving", "危险驾驶行为报警", URGENT, confirmable=True),
    AlarmBit(15, "forbidden_driving", "违规行驶报警", WARNING),
    AlarmBit(16, "tyre_pressure_warning", "胎压预警", WARNING),
    AlarmBit(17, "right_turn_blind_zone", "右转盲区异常报警", WARNING),
    AlarmBit(29, "collision", "碰撞侧翻报警", EMERGENCY),
)
_STATUSES_ADDED_IN_2019 = (
    StatusBit(6, "forward_collision_warning", "紧急刹车系统采集的前撞预警"),
    StatusBit(7, "lane_departure_warning", "车道偏移预警"),
    StatusBit(22, "moving", "车辆处于行驶状态"),
)


def _table(*rows: Row) -> MappingProxyType[int, Row]:
    """Order rows by bit; a later row replaces an earlier one of the same bit."""
    by_bit = {row.bit: row for row in rows}
    return MappingProxyType({bit: by_bit[bit] for bit in sorted(by_bit)})


_RESERVED_IN_2011 = {12, 13, 14, 29, 30, 31}
_RENAMED_IN_2011 = {3: "预警"}

ALARMS: Final = MappingProxyType(
    {
        Edition.E2011: _table(
            *(
                replace(row, chinese=_RENAMED_IN_2011.get(row.bit, row.chinese))
                for row in _ALARMS_2013
                if row.bit not in _RESERVED_IN_2011
            )
        ),
        Edition.E2013: _table(*_ALARMS_2013),
        Edition.E2019: _table(*(row for row in _ALARMS_2013 if row.bit != 31), *_ALARMS_ADDED_IN_2019),
    }
)
"""Alarm bits by edition and bit number."""

STATUSES: Final = MappingProxyType(
    {
        Edition.E2011: _table(*(row for row in _STATUSES_2013 if row.bit < 8 or 10 <= row.bit <= 12)),
        Edition.E2013: _table(*_STATUSES_2013),
        Edition.E2019: _table(*_STATUSES_2013, *_STATUSES_ADDED_IN_2019),
    }
)
"""Status bits by edition and bit number."""

ACC_ON: Final = 1 << 0
POSITIONED: Final = 1 << 1
SOUTH: Final = 1 << 2
WEST: Final = 1 << 3
OUT_OF_SERVICE: Final = 1 << 4
ENCRYPTED: Final = 1 << 5
"""Masks of the status bits that mean the same in every edition and that code asks for by name."""


def alarms_in(word: int, edition: Edition) -> list[AlarmBit]:
    """Give the alarms that are set in a word. Reserved bits are not named: see `reserved_in`."""
    return [alarm for bit, alarm in ALARMS[edition].items() if word >> bit & 1]


def reserved_in(word: int, edition: Edition) -> int:
    """Give the bits of a word that the edition reserves: raw, because what a device means by them is its
    own."""
    return word & ~sum(1 << bit for bit in ALARMS[edition])


def states_in(word: int, edition: Edition) -> dict[str, int]:
    """Give every known state of a status word by name, e.g. {"acc_on": 1, "load": 3, …}."""
    return {state.name: state.value(word) for state in STATUSES[edition].values()}

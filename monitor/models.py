"""The nouns of the API, as it gives and takes them.

What comes in is strict: unknown fields, wrong types and control characters are refused, and null means
"leave it as it is". What goes out always has every field.
"""

import re
from datetime import date, datetime
from typing import Annotated, Any, Generic, Literal, TypeAlias, TypeVar

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    computed_field,
)

from protocol.edition import Edition as Standard
from protocol.words import alarms_in
from store.fleet import MAX_IDENTITY, MAX_PLATE, MAX_TEXT
from store.lobby import DEFAULT_ROOM, MOST_ROOM
from store.passwords import MAX_PASSWORD, MIN_PASSWORD

Item = TypeVar("Item")

MAX_INT = 2**31 - 1  # PostgreSQL's integer
MAX_BIGINT = 2**63 - 1
MAX_NOTE = 2000  # characters: some paragraphs

_LINE = r"^[^\x00-\x1f\x7f]*$"
_LINES = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"

Line: TypeAlias = Annotated[str, StringConstraints(max_length=MAX_TEXT, pattern=_LINE)]
"""Text on one line."""
Note: TypeAlias = Annotated[str, StringConstraints(max_length=MAX_NOTE, pattern=_LINES)]
"""Text of some lines."""
Because: TypeAlias = Annotated[Note, StringConstraints(min_length=1)]
"""A note that must say something."""
Name: TypeAlias = Annotated[
    str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\x00-,/:-?\[-\^`{-\x7f]+$")
]
"""Letters of any script, digits and `.@-_`. Written without `\\w`, which outside of Python is ASCII only; the
store looks closer."""
Password: TypeAlias = Annotated[str, StringConstraints(min_length=MIN_PASSWORD, max_length=MAX_PASSWORD)]
Code: TypeAlias = Annotated[str, StringConstraints(max_length=64)]
Plate: TypeAlias = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_PLATE, pattern=r"^[^\x00-\x1f\x7f]*$")
]
Identity: TypeAlias = Annotated[
    str, StringConstraints(min_length=1, max_length=2 * MAX_IDENTITY, pattern=r"^[0-9A-Fa-f -]+$")
]
PlateColor: TypeAlias = Annotated[int, Field(ge=0, le=255)]
Edition: TypeAlias = Literal["2011", "2013", "2019"]
Role: TypeAlias = Literal["admin", "operator"]
Result: TypeAlias = Literal["real", "false_alarm", "test", "other"]
Id: TypeAlias = Annotated[int, Field(ge=1, le=MAX_INT)]
BigId: TypeAlias = Annotated[int, Field(ge=1, le=MAX_BIGINT)]


def _written_out(value: object) -> object:
    """Refuse the numbers that pydantic would read as seconds since 1970."""
    if isinstance(value, str) and not re.match(r"\d{4}-\d{2}-\d{2}[Tt ]", value):
        raise ValueError("a time is written like 2026-03-01T08:15:30Z")
    return value


Moment: TypeAlias = Annotated[AwareDatetime, BeforeValidator(_written_out)]
"""A time with its offset from UTC."""


class Given(BaseModel):
    """What the API takes."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Credentials(Given):
    """A name and its password."""

    name: Annotated[str, StringConstraints(max_length=200)]
    password: Annotated[str, StringConstraints(max_length=MAX_PASSWORD)]
    code: Code | None = None


class Proof(Given):
    """One's own password, and where one has a second factor, a code of it or a recovery code."""

    password: Annotated[str, StringConstraints(max_length=MAX_PASSWORD)]
    code: Code | None = None


class CodeGiven(Given):
    """A code of one's authenticator."""

    code: Code


class PasswordChange(Given):
    """One's own new password."""

    old_password: Annotated[str, StringConstraints(max_length=MAX_PASSWORD)]
    new_password: Password


class NewPassword(Given):
    """Somebody's new password."""

    password: Password


class NewUser(Given):
    """A user to be added."""

    name: Name
    display_name: Line = ""
    role: Role
    password: Password


class UserChange(Given):
    """What is to be different about a user."""

    display_name: Line | None = None
    role: Role | None = None
    disabled: bool | None = None


class SettingChange(Given):
    """What a setting is to be."""

    value: Annotated[float, Field(allow_inf_nan=False)]


class Enrolment(Given):
    """Many new terminals are to come: for how long, and how many."""

    hours: Annotated[float, Field(gt=0, le=168, allow_inf_nan=False)]
    room: Annotated[int, Field(ge=1, le=MOST_ROOM)] = DEFAULT_ROOM


class NewVehicle(Given):
    """A vehicle to be added."""

    plate: Plate
    plate_color: PlateColor = 1
    vin: Line | None = None
    owner: Line = ""
    contact: Line = ""
    note: Note = ""


class NewHold(Given):
    """A period of a vehicle that is to be held."""

    vehicle_id: Annotated[int, Field(ge=1, le=MAX_INT)]
    begins_at: Annotated[Moment, Field(strict=False)]  # JSON has no times of its own
    ends_at: Annotated[Moment, Field(strict=False)]
    reason: Line


class VehicleChange(Given):
    """What is to be different about a vehicle; an empty `vin` forgets it."""

    plate: Plate | None = None
    plate_color: PlateColor | None = None
    vin: Line | None = None
    owner: Line | None = None
    contact: Line | None = None
    note: Note | None = None


class NewTerminal(Given):
    """A terminal to be entered; `identity` in any spelling."""

    identity: Identity
    edition: Edition = "2013"
    note: Note = ""


class TerminalChange(Given):
    """What is to be different about a terminal."""

    edition: Edition | None = None
    note: Note | None = None


class Claim(Given):
    """The vehicle for a terminal of the lobby: one that is there, or a plate (entered if it is new), or
    none.
    """

    vehicle_id: Id | None = None
    plate: Plate | None = None
    plate_color: PlateColor = 1


class Binding(Given):
    """The vehicle in which a terminal is installed."""

    vehicle_id: Id


class WithoutCode(Given):
    """Whether what a terminal says counts without its authentication code."""

    allowed: bool


class OptionalNote(Given):
    """A word about it, if one likes."""

    note: Note | None = None


class NeededNote(Given):
    """A word about it."""

    note: Because


class Handling(Given):
    """What an alarm was and what was done about it."""

    result: Result
    note: Note = ""


class Page(BaseModel, Generic[Item]):
    """Some things of a list; `next` is the `cursor` of the following ones, null at the end."""

    items: list[Item]
    next: str | None


class CountedPage(Page[Item], Generic[Item]):
    """A page with the number of all that match."""

    total: int


class Items(BaseModel, Generic[Item]):
    """A short list, whole."""

    items: list[Item]


class Someone(BaseModel):
    """A user, as others see them."""

    id: int
    name: str
    display_name: str


class Person(Someone):
    """Who is signed in."""

    role: Role
    has_second_factor: bool
    must: Literal["change_password", "set_up_second_factor"] | None = Field(
        description="What this person has to do before the account can do anything else."
    )
    until: datetime = Field(description="When the sign-in ends, however much it is used.")


class User(Someone):
    """A user, as admins see them."""

    role: Role
    disabled: bool
    must_change_password: bool
    has_second_factor: bool
    created_at: datetime


class SecondFactorProposal(BaseModel):
    """What an authenticator needs to make codes."""

    secret: str
    url: str = Field(description="The same as an `otpauth` address.")


class RecoveryCodes(BaseModel):
    """Codes that serve once each, for who has lost the authenticator."""

    recovery_codes: list[str]


class TerminalRef(BaseModel):
    """Which terminal."""

    id: int
    identity: str


class VehicleRef(BaseModel):
    """Which vehicle."""

    id: int
    plate: str
    plate_color: int


class InstalledTerminal(TerminalRef):
    """The terminal in a vehicle."""

    installed_at: datetime


class InstalledIn(VehicleRef):
    """The vehicle in which a terminal is."""

    installed_at: datetime


class Vehicle(BaseModel):
    """A vehicle 车辆: what operators see. Its plate outlives its terminals."""

    id: int
    plate: str
    plate_color: int
    vin: str | None
    owner: str
    contact: str
    note: str
    created_at: datetime
    terminal: InstalledTerminal | None


class Clone(BaseModel):
    """That two links speak as one terminal 套牌嫌疑, within the last day; of the newer link and of the older
    one.
    """

    began_at: datetime
    last_seen_at: datetime
    peers: list[str]
    frames: list[int]
    take_overs: int


class Claimed(BaseModel):
    """What a terminal last said of itself without having authenticated since."""

    received_at: datetime
    manufacturer_id: str
    model: str
    maker_terminal_id: str
    plate: str
    plate_color: int


class Terminal(BaseModel):
    """A terminal 终端: as entered, as it registered (0x0100), and how it is now."""

    id: int
    identity: str
    edition: Edition
    known: bool
    blocked: bool
    code_epoch: int
    speaks_without_code: bool
    province_id: int | None
    city_id: int | None
    manufacturer_id: str | None
    model: str | None
    maker_terminal_id: str | None
    registered_plate: str | None
    registered_plate_color: int | None
    registered_at: datetime | None
    authenticated_at: datetime | None
    iccid: str | None
    note: str
    first_seen_at: datetime | None
    created_at: datetime
    link: Literal["open", "closed"]
    last_received_at: datetime | None
    mode: str
    silent_since: datetime | None
    without_code_since: datetime | None
    """In place of `silent_since`, where it spoke since without its code."""
    without_code_at: datetime | None
    """When it last said something without its code, which did not count."""
    without_code: int
    """How often."""
    lat: float | None
    lon: float | None
    fix_at: datetime | None
    alarm_bits: int
    claim: Claimed | None
    clone: Clone | None
    vehicle: InstalledIn | None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def severity(self) -> int | None:
        """The worst of `alarm_bits`, 1 to 4."""
        found = alarms_in(self.alarm_bits, Standard(self.edition))
        return min((each.severity for each in found), default=None)


class Installation(BaseModel):
    """A terminal in a vehicle, from when to when."""

    id: int
    terminal: TerminalRef
    vehicle: VehicleRef
    installed_at: datetime
    removed_at: datetime | None


class Hold(BaseModel):
    """A legal hold 封存; in force while `released_at` is null."""

    id: int
    vehicle: VehicleRef
    begins_at: datetime
    ends_at: datetime
    reason: str
    placed_by: str
    placed_at: datetime
    released_by: str | None
    released_at: datetime | None


class OpenEnrolment(BaseModel):
    """Until when many new terminals may come, and how many."""

    until: datetime
    room: int
    opened_by: str


class Lobby(BaseModel):
    """Terminals that came by themselves and wait to be accepted."""

    waiting: int
    enrolment: OpenEnrolment | None
    """Null while they come as the settings say."""


class Setting(BaseModel):
    """A setting that facts depend on, in the unit of its name."""

    name: str
    value: float | None
    """In force: what a person says, else what the configuration does."""
    configured: float | None
    set_by: str | None
    """The person who has said otherwise than the configuration."""
    set_at: datetime | None
    is_taken: bool
    """The worker goes by it already."""
    least: float
    most: float
    is_whole: bool


class Doubt(BaseModel):
    """A kind of doubt about a location report: a bit of `quality`."""

    bit: int
    name: str
    zh: str
    en: str
    is_unqualified: bool


class DoubtfulReport(BaseModel):
    """A location report with a doubt; `reasons` are the names of the bits of `quality`."""

    at: datetime
    reported_at: datetime | None
    received_at: datetime
    lat: float | None
    lon: float | None
    speed_kmh: float
    heading_deg: int
    altitude_m: int
    late: bool
    quality: int
    reasons: list[str]


class LinkEvent(BaseModel):
    """A link was opened or ended."""

    id: int
    at: datetime
    event: str
    session: str
    peer: str


class Medium(BaseModel):
    """A picture, sound or video 多媒体 (0x0801), and the `alarms` that were on when it was taken."""

    id: int
    terminal: TerminalRef
    vehicle: VehicleRef | None
    received_at: datetime
    reported_at: datetime | None
    media_id: int
    kind: int
    format: int
    event: int
    channel: int
    lat: float | None
    lon: float | None
    speed_kmh: float | None
    alarm_bits: int | None
    status_bits: int | None
    sha256: str
    size: int
    copies: int
    alarms: list[int]


class RawFrame(BaseModel):
    """A frame as it was on the wire; `chunk` of the archive, null while it is in the log."""

    received_at: datetime
    session: str
    msg_id: int | None
    hex: str
    chunk: int | None


class Imported(BaseModel):
    """What an import did, or with `dry_run` would do."""

    dry_run: bool
    lines: int
    vehicles_added: int
    vehicles_changed: int
    terminals_added: int
    terminals_changed: int
    bound: int


class TrackPoint(BaseModel):
    """One report with a fix."""

    at: datetime
    lat: float
    lon: float
    speed_kmh: float
    heading_deg: int
    altitude_m: int
    alarm_bits: int
    status_bits: int
    late: bool
    quality: int


class Track(BaseModel):
    """Where something was: of `total` points those that show its shape. The others lie within `tolerance_m`
    of the line through them.
    """

    model_config = ConfigDict(populate_by_name=True)

    since: datetime = Field(alias="from")
    until: datetime = Field(alias="to")
    total: int
    tolerance_m: float
    points: list[TrackPoint]


class Leg(BaseModel):
    """An uninterrupted time in which a vehicle drove, or stood for five minutes or more."""

    kind: Literal["trip", "stop"]
    began_at: datetime
    ended_at: datetime
    day: date
    """In Beijing (GMT+8), of its beginning."""
    fixes: int
    began_lat: float
    began_lon: float
    ended_lat: float
    ended_lon: float
    driving_s: float
    driving_night_s: float
    """Of it between 22:00 and 06:00."""
    track_km: float
    gap_km: float
    """From its last fix to the next one, where that came after a gap of more than ten minutes."""
    odometer_km: float
    max_speed_kmh: float


class VehicleDay(BaseModel):
    """What a vehicle did on a day of Beijing's."""

    day: date
    fixes: int
    first_fix_at: datetime | None
    last_fix_at: datetime | None
    trips: int
    stops: int
    driving_s: float
    driving_night_s: float
    track_km: float
    gap_km: float
    odometer_km: float
    max_speed_kmh: float
    online_s: float
    reports: int
    late: int
    unqualified: int
    """Of the reports, by the authority's rules (数据合格率)."""
    without_fix: int


class Visit(BaseModel):
    """A terminal in an area, and the vehicle that had it then."""

    terminal: TerminalRef
    vehicle: VehicleRef | None
    first_at: datetime
    last_at: datetime
    points: int
    """Reports from inside."""
    lat: float
    lon: float
    """The last of them."""


class Alarm(BaseModel):
    """One condition from its start to its end, and what the desk did with it."""

    id: int
    terminal: TerminalRef
    vehicle: VehicleRef | None
    condition: str
    object: str
    edition: str
    severity: Annotated[int, Field(ge=1, le=4)]
    ends: Literal["by_terminal", "by_operator"]
    late: bool
    on_desk: bool
    began_at: datetime
    received_at: datetime
    last_seen_at: datetime
    ended_at: datetime | None
    reports: int
    lat: float | None
    lon: float | None
    speed_kmh: float | None
    desk: Literal["free", "taken", "handled"]
    taken_by: Someone | None
    taken_at: datetime | None
    handled_by: Someone | None
    handled_at: datetime | None
    result: Result | None
    note: str


class Change(BaseModel):
    """One thing that happened to an alarm or a ticket; `by` is null where the system did it."""

    id: int
    at: datetime
    change: str
    by: Someone | None
    detail: dict[str, Any]


class AlarmDetail(Alarm):
    """An alarm with its history."""

    changes: list[Change]


class Why(BaseModel):
    """A reason as code and numbers, for the page to say in any language. Lengths of time end in `_s`."""

    code: str
    params: dict[str, Any]


class Ticket(BaseModel):
    """Repair work 工单, opened for a reason and closed on proof."""

    id: int
    terminal: TerminalRef
    vehicle: VehicleRef | None
    fault: str
    state: Literal["open", "accepted", "repaired", "closed", "cancelled"]
    reason: str
    why: Why | None
    """The reason as `{code, params}`, to be said in any language."""
    opened_at: datetime
    closed_at: datetime | None
    closed_because: str | None
    assigned_to: Someone | None
    note: str


class TicketDetail(Ticket):
    """A ticket with its evidence and history."""

    evidence: dict[str, Any]
    changes: list[Change]


class Incident(BaseModel):
    """Many terminals silent at once: one trouble of ours, not many of theirs."""

    id: int
    kind: str
    opened_at: datetime
    closed_at: datetime | None
    terminals: int
    detail: dict[str, Any]


class Quarantined(BaseModel):
    """Input that could not be read, with the reason."""

    id: int
    received_at: datetime
    terminal: TerminalRef | None
    peer: str
    msg_id: int | None
    reason: str
    detail: str
    size_bytes: int
    preview_hex: str


class QuarantinedRaw(Quarantined):
    """The same with all its bytes."""

    raw_hex: str


class ReasonCount(BaseModel):
    """How often input was quarantined for one reason."""

    reason: str
    count: int = Field(description="What is kept.")
    newest_at: datetime
    only_counted: int = Field(description="What is not kept, or not any more; the archive has its bytes.")


class Deleted(BaseModel):
    """What was deleted."""

    deleted: int
    is_all: bool = Field(description="Nothing of what was chosen is left, but what must be kept.")


class AuditEntry(BaseModel):
    """Somebody changed something."""

    id: int
    at: datetime
    user_name: str
    action: str
    subject: str
    detail: dict[str, Any]


class PlateColorName(BaseModel):
    """A plate colour 车牌颜色 by JT/T 415 and JT/T 697.7."""

    code: int
    zh: str
    en: str


class ConditionName(BaseModel):
    """What an alarm condition is called."""

    name: str
    zh: str
    en: str


class MapSettings(BaseModel):
    """The map with which the page begins."""

    tiles_url: str | None
    tiles_attribution: str
    center: tuple[float, float]
    zoom: float


class Settings(BaseModel):
    """What the page must know before it draws anything."""

    name: str
    version: str
    policy: str
    second_factor: Literal["off", "optional", "administrators", "all"]
    map: MapSettings
    conditions: list[ConditionName]
    plate_colors: list[PlateColorName]

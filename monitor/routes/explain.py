"""What bytes mean: pasted hex, explained byte by byte."""

from typing import Any, Final, Literal, TypeAlias

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from monitor.explainer import AsksAlready, TakesTooLong
from monitor.models import Given
from monitor.problems import Problem, invalid
from monitor.routes import CHANGES, problems
from monitor.signing import At, By
from protocol.edition import Edition
from protocol.explain import NotHex, pieces_of
from protocol.jt809.dialect import Dialect
from protocol.meaning import chinese_and_english
from protocol.profiles import PROFILES

router = APIRouter(prefix="/explain", tags=["explain"])

MAX_BYTES: Final = 8192
"""More than seven of the longest frames. What explains them takes some 100 times their room."""

EditionName: TypeAlias = Literal["2011", "2013", "2019", "V1", "V2", "V3"]


class Bytes(Given):
    """Bytes to explain, and what they do not say themselves."""

    hex: str = Field(
        description="A frame, a stream of them, or the fragments of a message; spaces do not matter.",
    )
    edition: EditionName | None = Field(
        default=None, description="What the terminal registered as; V1 to V3 for platforms of JT/T 809."
    )
    profile: str | None = Field(default=None, max_length=64, description="The terminal's profile.")


class Finding(BaseModel):
    """What is against the standard (`error`), or remarkable (`notice`)."""

    code: str
    severity: Literal["error", "notice"]
    zh: str
    en: str
    offset: int
    length: int


class Bit(BaseModel):
    """One bit, or `width` adjacent ones, of a word."""

    bit: int
    width: int
    value: int
    name: str
    zh: str
    is_reserved: bool


class Part(BaseModel):
    """Some bytes and what they mean. A `group` heads the parts behind it; a `derived` one has no bytes."""

    kind: Literal["field", "group", "derived"]
    section: Literal["flag", "header", "body", "check", "garbage"]
    offset: int
    length: int
    hex: str
    field: str = Field(description="Path of the decoded field, e.g. items.0.speed_kmh.")
    level: int
    value: Any = Field(description="Integers beyond 2**53 as text.")
    unit: str
    quantity: str = Field(description="The value in a plain unit, where its own is scaled.")
    option: str = Field(description="What exactly this value means.")
    bits: list[Bit]
    zh: str
    en: str
    clause: str
    finding: Finding | None


class Unit(BaseModel):
    """A frame, or bytes that are none (`protocol` null)."""

    protocol: Literal["808", "809"] | None
    offset: int
    length: int
    edition: str | None
    msg_id: str | None
    zh: str
    en: str
    direction: Literal["up", "down"] | None
    clause: str
    terminal: str | None
    serial: int | None
    findings: list[Finding]
    parts: list[Part]


class Whole(Unit):
    """A message put together from fragments, or deciphered; its offsets are those of `hex`."""

    reason: Literal["reassembled", "deciphered"]
    hex: str


class Explained(BaseModel):
    """Every byte of what was given."""

    is_valid: bool = Field(description="Nothing is against the standard.")
    hex: str
    units: list[Unit]
    wholes: list[Whole]


class ProfileName(BaseModel):
    """What a profile is called."""

    name: str
    zh: str
    en: str


class Choices(BaseModel):
    """What can be said beside the bytes."""

    editions: list[str]
    dialects: list[str]
    profiles: list[ProfileName]
    max_bytes: int


@router.get("", response_model=Choices, responses=problems())
async def choices(by: By) -> Choices:
    """What can be said beside the bytes."""
    names = [(name, chinese_and_english(profile.what, name)) for name, profile in PROFILES.items()]
    return Choices(
        editions=[edition.value for edition in Edition],
        dialects=[dialect.value for dialect in Dialect],
        profiles=[ProfileName(name=name, zh=zh, en=en) for name, (zh, en) in names],
        max_bytes=MAX_BYTES,
    )


@router.post("", response_model=Explained, responses=CHANGES | problems(429))
async def explained(given: Bytes, center: At, by: By) -> Response:
    """What each byte is and means, and what exactly is wrong. A person asks one thing at a time."""
    try:
        pieces = pieces_of(given.hex)
    except NotHex as error:
        if error.letter:
            raise invalid("hex", "no_hex_digit", letter=error.letter) from None
        raise invalid("hex", "half_a_byte", digits=error.digits) from None
    if len(given.hex) > 4 * MAX_BYTES or sum(map(len, pieces)) > MAX_BYTES:
        raise invalid("hex", "too_many_bytes", bytes=MAX_BYTES)
    if given.profile is not None and given.profile not in PROFILES:
        raise invalid("profile", "unknown_profile", known=", ".join(PROFILES))
    try:
        found = await center.explainers.explain(
            by["id"], pieces, edition=given.edition, profile=given.profile
        )
    except AsksAlready:
        raise Problem(429, "busy", "Your last question is not answered yet.") from None
    except TakesTooLong as error:
        raise Problem(422, "takes_too_long", f"{error} Give fewer bytes.") from None
    return Response(found, media_type="application/json")

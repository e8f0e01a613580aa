"""One link between a terminal and the platform, without I/O and for either side.

Three calls make the contract. `receive(data, now)` takes bytes in any chunking and gives events; `send(…)`
queues a message and gives its serial; `data_to_send()` gives the bytes to write, once. The caller owns the
socket and the clock: `now` is seconds of any clock that only grows.

    link = Connection(Role.PLATFORM)
    for event in link.receive(data, now):
        if isinstance(event, Received):
            link.reply(event.frame)
    socket.write(link.data_to_send())

A platform's link may carry several terminals, so everything that belongs to a terminal (serial counter,
edition, unanswered messages) is kept by the id of the header, and a message is sent *to* an address.
`Terminal` is the other side: a connection that has one address and names for what a terminal says.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Any, Final, NamedTuple, TypeAlias

from protocol.deframer import Deframer, RejectedBytes
from protocol.edition import REGISTER, Edition, edition_of
from protocol.errors import LocalProtocolError
from protocol.frame import SERIALS, Frame, divide, parse, raw_id_of
from protocol.message import PLATFORM_REPLY, TERMINAL_REPLY
from protocol.messages import MESSAGES, Undecodable, decode_frame, encode_body

MAX_UNANSWERED: Final = 1024
"""Sent messages remembered for a terminal until answered; beyond that the oldest is forgotten. Bounds
memory where nobody answers."""

MAX_ADDRESSES: Final = 4096
"""Terminals on one link; beyond that the longest silent one is forgotten. Bounds memory under made-up ids."""


class Role(StrEnum):
    """Which side of the link we are."""

    PLATFORM = "platform"
    TERMINAL = "terminal"


class Address(NamedTuple):
    """The terminal of a message as headers name it: what an answer must echo."""

    raw_id: bytes
    version: int | None = None
    """协议版本号 of the 2019 header; None is the header of 2011 and 2013."""


def address_of(frame: Frame) -> Address:
    """Give the address that answers to this frame go to."""
    return Address(frame.raw_id, frame.version)


class Sent(NamedTuple):
    """A message of ours that waits for its answer."""

    msg_id: int
    serial: int
    at: float
    """When `send` was called."""


@dataclass(frozen=True, slots=True)
class Received:
    """A frame arrived."""

    frame: Frame
    edition: Edition
    at: float
    is_canonical: bool = True
    """False where the sender left its checksum unescaped, see `protocol.deframer`."""
    answers: Sent | None = None
    """Our message whose serial this one names; taken from the unanswered ones."""

    def fields(self) -> dict[str, Any] | Undecodable:
        """Decode the body."""
        return decode_frame(self.frame, self.edition)


Event: TypeAlias = Received | RejectedBytes


@dataclass(slots=True)
class _Counterpart:
    """What a connection remembers of one terminal."""

    edition: Edition
    next_serial: int = 0
    unanswered: OrderedDict[int, Sent] = field(default_factory=OrderedDict)

    def await_answers(self, messages: Iterable[Sent]) -> None:
        for sent in messages:
            self.unanswered.pop(sent.serial, None)
            self.unanswered[sent.serial] = sent
        while len(self.unanswered) > MAX_UNANSWERED:
            self.unanswered.popitem(last=False)


class Connection:
    """A link in one role. See the head of this module."""

    def __init__(self, role: Role) -> None:
        self.role = role
        self._deframer = Deframer()
        self._counterparts: OrderedDict[bytes, _Counterpart] = OrderedDict()
        self._outgoing = bytearray()

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Take bytes from the other side and give what they complete, in order."""
        return [
            found
            if isinstance(found, RejectedBytes)
            else self._received(found.plain, found.is_canonical, now)
            for found in self._deframer.feed(data)
        ]

    def send(self, msg_id: int, fields: dict[str, Any] | bytes, to: Address, now: float = 0.0) -> int:
        """Queue a message and give its serial, the first one if the body had to be split into fragments.

        `fields` is what the declaration of the message names, or the bytes of a body.

        Raises:
            LocalProtocolError: the body or the address does not fit; nothing is queued then.
        """
        counterpart = self._counterpart(to)
        body = fields if isinstance(fields, bytes) else encode_body(msg_id, counterpart.edition, fields)
        first = counterpart.next_serial
        frames = divide(Frame(msg_id, to.raw_id, first, body, to.version))
        self._outgoing += b"".join(frame.encode() for frame in frames)
        counterpart.next_serial = (first + len(frames)) % SERIALS
        if _wants_answer(msg_id):
            counterpart.await_answers(Sent(msg_id, frame.serial, now) for frame in frames)
        return first

    def reply(self, frame: Frame, result: int = 0) -> int:
        """Queue the general reply to a frame: 0x8001 as the platform, 0x0001 as a terminal. Gives its
        serial."""
        msg_id = PLATFORM_REPLY if self.role is Role.PLATFORM else TERMINAL_REPLY
        fields = {"ack_serial": frame.serial, "ack_msg_id": frame.msg_id, "result": result}
        return self.send(msg_id, fields, address_of(frame))

    def data_to_send(self) -> bytes:
        """Give, once, all bytes queued since the last call."""
        data = bytes(self._outgoing)
        self._outgoing.clear()
        return data

    def unanswered(self, to: Address) -> Sequence[Sent]:
        """Give the messages to a terminal that nobody has answered, oldest first."""
        known = self._counterparts.get(to.raw_id)
        return tuple(known.unanswered.values()) if known else ()

    def _received(self, plain: bytes, is_canonical: bool, now: float) -> Received:
        frame = parse(plain)
        counterpart = self._counterpart(address_of(frame))
        edition = edition_of(frame, counterpart.edition)
        if frame.msg_id == REGISTER:
            counterpart.edition = edition
        answers = None
        if _names_serial(frame.msg_id, edition) and (not frame.fragment or frame.fragment[1] == 1):
            answers = counterpart.unanswered.pop(int.from_bytes(frame.body[:2]), None)
        return Received(frame, edition, now, is_canonical, answers)

    def _counterpart(self, address: Address) -> _Counterpart:
        known = self._counterparts.get(address.raw_id)
        if known is None:
            edition = Edition.E2013 if address.version is None else Edition.E2019
            known = self._counterparts[address.raw_id] = _Counterpart(edition)
            if len(self._counterparts) > MAX_ADDRESSES:
                self._counterparts.popitem(last=False)
        self._counterparts.move_to_end(address.raw_id)
        return known


class Terminal(Connection):
    """The terminal's side of a link: a simulator, or a test's counterpart of the platform."""

    def __init__(
        self, identity: str, edition: Edition = Edition.E2013, *, version: int = 1, first_serial: int = 0
    ) -> None:
        """`version` is the protocol version in a 2019 header; the 2019 edition's own is 1."""
        super().__init__(Role.TERMINAL)
        if not 0 <= first_serial < SERIALS:
            raise LocalProtocolError(f"serial {first_serial} is outside of 0 to {SERIALS - 1}")
        is_2019 = edition is Edition.E2019
        self.address = Address(raw_id_of(identity, is_2019), version if is_2019 else None)
        platform = self._counterpart(self.address)
        platform.edition = edition
        platform.next_serial = first_serial

    def say(self, msg_id: int, fields: dict[str, Any] | bytes = b"", now: float = 0.0) -> int:
        """Queue any message and give its serial."""
        return self.send(msg_id, fields, self.address, now)

    def register(self, plate_number: str, plate_color: int, now: float = 0.0, **fields: Any) -> int:
        """终端注册. `fields` may name province_id, city_id, manufacturer_id, terminal_model, terminal_id."""
        unnamed = {
            "province_id": 0,
            "city_id": 0,
            "manufacturer_id": "",
            "terminal_model": "",
            "terminal_id": "",
        }
        plate = {"plate_number": plate_number, "plate_color": plate_color}
        return self.say(0x0100, unnamed | plate | fields, now)

    def authenticate(
        self, auth_code: str, now: float = 0.0, *, imei: str = "", software_version: str = ""
    ) -> int:
        """终端鉴权. IMEI and software version exist since 2019."""
        fields = {"auth_code": auth_code, "imei": imei, "software_version": software_version}
        return self.say(0x0102, fields, now)

    def heartbeat(self, now: float = 0.0) -> int:
        """终端心跳."""
        return self.say(0x0002, now=now)

    def deregister(self, now: float = 0.0) -> int:
        """终端注销."""
        return self.say(0x0003, now=now)

    def report(self, report: dict[str, Any], now: float = 0.0) -> int:
        """位置信息汇报. `protocol.messages.location.location` makes a report from degrees."""
        return self.say(0x0200, report, now)

    def report_batch(
        self, reports: Sequence[dict[str, Any]], now: float = 0.0, *, from_blind_zone: bool
    ) -> int:
        """定位数据批量上传: late reports (盲区补报), or normal ones collected to save messages."""
        return self.say(0x0704, {"type": int(from_blind_zone), "items": list(reports)}, now)


def _wants_answer(msg_id: int) -> bool:
    declared = MESSAGES.get(msg_id)
    return declared is None or declared.answer is not None


def _names_serial(msg_id: int, edition: Edition) -> bool:
    """Whether this message begins with 应答流水号, the serial of the message that it answers."""
    return msg_id in MESSAGES and _begins_with_serial(msg_id, edition)


@cache  # of declared messages only: made-up ids must not fill it
def _begins_with_serial(msg_id: int, edition: Edition) -> bool:
    fields = getattr(MESSAGES[msg_id].layout(edition), "subcons", [])
    return bool(fields) and fields[0].name == "ack_serial"

"""What one frame means to the gateway, and what is answered: the answer table.

| frame                                     | answer                                                        |
|-------------------------------------------|---------------------------------------------------------------|
| 0x0001 终端通用应答                       | none                                                          |
| 0x0100 终端注册                           | 0x8100, result 1 to 4 only for a real conflict, which it is   |
|                                           | too that the terminal speaks, authenticated, on another link  |
| … whose body cannot be decoded            | 0x8001/2                                                      |
| 0x0102 终端鉴权                           | 0x8001: 0 for the terminal's code, 1 for any other            |
| 0x0003 终端注销                           | 0x8001/0; the session ends                                    |
| 0x0004 查询服务器时间请求                 | 0x8004                                                        |
| 0x0005 终端补传分包请求                   | the fragments that are still kept; 0x8001/1 if none is        |
| 0x0801 多媒体数据上传                     | 0x8800, which is "complete"                                   |
| … of which other packets are to come      | 0x8001/0; 0x8800 once all have come                           |
| 0x0A00 终端RSA公钥                        | 0x8A00 where we have a key, else 0x8001/0                     |
| a fragment of any known id                | 0x8001/0 with its own serial; what is missing is asked for    |
|                                           | later of who has authenticated, see `gateway.repairs`         |
| every other known id                      | 0x8001/0, whether or not its body can be decoded              |
| unknown id                                | 0x8001/3                                                      |
| no frame at all (checksum, length, …)     | none                                                          |

All of these are written to the log, and no answer leaves before that is durable. Exceptions:

- A **blocked** terminal is refused (0x8100/4, 0x8001/1 to its code, no answer to anything else), nothing of
  it is written, and its link is closed unless it carries others.
- A **new** terminal for which the lobby has no place is refused in the same way, and its link stays: others
  may speak on it (`gateway.lobby`).
- Policy **known**: what a terminal says before it has authenticated is written, but answered with 0x8001/1,
  so that nobody takes it for accepted; a terminal that nobody entered is refused registration with 0x8100/4.

What each frame counts for is marked beside it, see `gateway.standing`.

Everything here is decided from values in memory; nothing here waits.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from struct import Struct
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import structlog

from gateway.credentials import Credentials
from gateway.downlinks import KeptPackets
from gateway.fleet import Conflict, Fleet
from gateway.links import Link, LinkTable
from gateway.lobby import Lobby
from gateway.refusals import Refusals
from gateway.repairs import (
    MEDIA_ID_BYTES,
    MEDIUM,
    MEDIUM_REPLY,
    QUIET_S,
    Repairs,
    complete_body,
    may_count_packets,
    media_id_of,
    request_message,
    upload_of,
)
from gateway.sessions import Session, Sessions
from protocol.connection import address_of
from protocol.deframer import PlainFrame
from protocol.edition import Edition, edition_of
from protocol.frame import SERIALS, Frame, divide, parse
from protocol.message import PLATFORM_REPLY, TERMINAL_REPLY, UP
from protocol.messages import MESSAGES, Undecodable, decode_frame, encode_body
from store.records import CloseReason, FrameFlag

log = structlog.get_logger()

REGISTER: Final = 0x0100
REGISTER_REPLY: Final = 0x8100
AUTHENTICATE: Final = 0x0102
DEREGISTER: Final = 0x0003
ASK_TIME: Final = 0x0004
TIME: Final = 0x8004
ASK_FRAGMENTS: Final = 0x0005
TERMINAL_KEY: Final = 0x0A00
PLATFORM_KEY: Final = 0x8A00

DONE, FAILED, UNREADABLE, NOT_SUPPORTED = 0, 1, 2, 3
"""Results in 0x8001."""
UNKNOWN_TERMINAL: Final = 4
"""Result in 0x8100."""

_GENERAL_REPLY: Final = Struct(">HHB")


class Answer(Enum):
    """How a known id is answered."""

    NONE = "none"
    GENERAL = "general"
    REGISTRATION = "registration"
    AUTHENTICATION = "authentication"
    DEREGISTRATION = "deregistration"
    TIME = "time"
    FRAGMENTS = "fragments"
    MEDIUM = "medium"
    KEY = "key"


_SPECIAL: Final = {
    TERMINAL_REPLY: Answer.NONE,
    REGISTER: Answer.REGISTRATION,
    AUTHENTICATE: Answer.AUTHENTICATION,
    DEREGISTER: Answer.DEREGISTRATION,
    ASK_TIME: Answer.TIME,
    ASK_FRAGMENTS: Answer.FRAGMENTS,
    MEDIUM: Answer.MEDIUM,
    TERMINAL_KEY: Answer.KEY,
}

ANSWERS: Final[dict[int, Answer]] = {
    msg_id: _SPECIAL.get(msg_id, Answer.GENERAL if message.answer else Answer.NONE)
    for msg_id, message in MESSAGES.items()
    if message.direction is UP
}
"""Every id that terminals send and that is declared."""

BY_HAND: Final = 255
"""In `RESULTS`: the frame is more than a report."""


def _results() -> npt.NDArray[np.uint8]:
    results = np.full(1 << 16, NOT_SUPPORTED, np.uint8)
    for msg_id, answer in ANSWERS.items():
        results[msg_id] = DONE if answer is Answer.GENERAL else BY_HAND
    return results


RESULTS: Final = _results()
"""The answer table as a column: by id the result in 0x8001, or `BY_HAND`."""


BY_HAND_IDS: Final = frozenset((RESULTS == BY_HAND).nonzero()[0].tolist())
"""Ids that are more than a report."""


IS_DECODED: Final[npt.NDArray[np.bool_]] = np.isin(
    np.arange(1 << 16), (REGISTER, AUTHENTICATE, ASK_FRAGMENTS, TERMINAL_KEY)
)
"""By id whether a body is decoded, or an answer made, by its declaration."""


class Receipt(NamedTuple):
    """What becomes of a frame."""

    session: int
    """Number of the session under which it is written; 0 where it is not."""
    flags: int
    """`FrameFlag` bits."""
    answer: bytes
    """For the wire, empty where there is none."""


class Refused(NamedTuple):
    """Why a terminal gets no session."""

    reason: str
    """Short and stable, for metrics and the log."""
    registration: int | None
    """Result in 0x8100, None where nothing is answered at all."""
    is_final: bool = True
    """The link is closed unless it carries others; else they may still speak."""


class PublicKey(NamedTuple):
    """The platform's RSA key (平台RSA公钥), which terminals are told."""

    rsa_e: int
    rsa_n: bytes
    """128 bytes."""


class Reception:
    """Receives frames one by one. What is frequent and simple goes past it, as columns, see
    `gateway.pipeline`.
    """

    def __init__(
        self,
        table: LinkTable,
        sessions: Sessions,
        fleet: Fleet,
        credentials: Credentials,
        lobby: Lobby,
        *,
        only_known: bool,
        quiet_s: float = QUIET_S,
        public_key: PublicKey | None = None,
    ) -> None:
        self._table = table
        self._sessions = sessions
        self._fleet = fleet
        self._credentials = credentials
        self.only_known = only_known
        self._lobby = lobby
        self.refusals = Refusals()
        """Frames of terminals that are not let in."""
        self.mistakes = 0
        """Frames that made us fail."""
        self._confessed: set[int] = set()
        self.repairs = Repairs(quiet_s)
        self._public_key = public_key
        self._now = 0.0
        self._now_us = 0

    def begin_turn(self, now: float, now_us: int) -> None:
        """Say what time it is: `now` by the loop's clock, `now_us` by the wall."""
        self._now, self._now_us = now, now_us

    def receive(self, link: Link, found: PlainFrame, now_us: int) -> Receipt:
        """Decide about one verified frame."""
        frame = parse(found.plain)
        key = int.from_bytes(frame.raw_id)
        session = link.sessions.get(key) or self._admit(link, frame, key, now_us)
        if isinstance(session, Refused):
            return self._refuse(link, frame, session)
        session.heard = self._now
        before = session.verdict
        try:
            answer = self._answer(session, frame)
        except Exception:  # a mistake of ours costs nobody more than this frame, which is kept
            self._confess(session, frame)
            answer = self._general_reply(link, frame, DONE)
        # What was said before the terminal proved who it is stays as it was; what proves it counts.
        flags = before.flags & (session.verdict.flags | FrameFlag.AUTHENTICATED)
        if not found.is_canonical:
            flags |= FrameFlag.RAW
        return Receipt(session.number, flags, answer)

    def _admit(self, link: Link, frame: Frame, key: int, now_us: int) -> Session | Refused:
        """Open a session for a terminal that is new on this link."""
        identity = frame.identity
        if self._fleet.terminal(identity).blocked:
            return Refused("blocked", UNKNOWN_TERMINAL)
        if len(link.sessions) >= self._table.capacity:
            return Refused("too_many_terminals", None)
        if reason := self._lobby.objection(identity, link, self._now, now_us):
            return Refused(reason, UNKNOWN_TERMINAL, is_final=False)
        session = self._sessions.open(link, key, identity, now_us)
        session.address = address_of(frame)
        session.edition = _edition_named(self._fleet.terminal(identity).edition)
        return session

    def _refuse(self, link: Link, frame: Frame, refused: Refused) -> Receipt:
        self.refusals.note(frame.identity, refused.reason, link.peer, self._now)
        if refused.is_final and not link.sessions:
            self._sessions.forsaken.append((link, CloseReason.BLOCKED))
        answer = b""
        if refused.registration is not None and frame.msg_id == REGISTER:
            answer = self._register_reply(link, frame, refused.registration)
        elif refused.registration is not None and frame.msg_id == AUTHENTICATE:
            answer = self._general_reply(link, frame, FAILED)
        return Receipt(0, 0, answer)

    def _answer(self, session: Session, frame: Frame) -> bytes:
        """Do what the frame asks for and give the answer."""
        link = session.link
        kind = ANSWERS.get(frame.msg_id)
        is_piece = kind is not None and frame.fragment is not None and frame.fragment[0] > 1
        if is_piece:
            kind = Answer.GENERAL  # a part of a message asks for nothing by itself
        if kind is Answer.NONE:
            return b""
        if kind is Answer.REGISTRATION:
            return self._register(session, frame)
        result = DONE
        if kind is None:
            result = NOT_SUPPORTED
        elif kind is Answer.AUTHENTICATION:
            result = self._authenticate(session, frame)
        elif session.verdict.is_refused:
            result = FAILED
        elif is_piece:
            return self._general_reply(link, frame, DONE) + self.fragment(session, frame)
        elif kind in _OWN_ANSWERS:
            return _OWN_ANSWERS[kind](self, session, frame)
        answer = self._general_reply(link, frame, result)
        if kind is Answer.DEREGISTRATION and result == DONE:
            self._sessions.close(session, CloseReason.DEREGISTERED)
        return answer

    def fragment(self, session: Session, frame: Frame) -> bytes:
        """Remember that a fragment came, and give what is answered beside its general reply: that a medium is
        complete, when its last one has come. Of who may not speak nothing is remembered.
        """
        if not session.verdict.counts:
            return b""
        edition = edition_of(frame, session.edition)
        arrival = self.repairs.note(session.key, frame, edition, self._now)
        if arrival is None or not arrival.is_complete or arrival.media_id is None:
            return b""
        return self._complete(session, frame, arrival.media_id)

    def _medium(self, session: Session, frame: Frame) -> bytes:
        """多媒体数据上传, whole or, in 2011, as one of several packets."""
        general = self._general_reply
        if frame.cipher or len(frame.body) < MEDIA_ID_BYTES:
            return general(session.link, frame, DONE)
        edition = edition_of(frame, session.edition)
        if upload_of(session.key, frame, edition) is not None:
            return general(session.link, frame, DONE) + self.fragment(session, frame)
        if session.edition is None and not frame.is_2019 and may_count_packets(frame):
            return general(session.link, frame, DONE)  # perhaps of 2011 and not complete: say nothing false
        return self._complete(session, frame, media_id_of(frame.body))

    def _complete(self, session: Session, frame: Frame, media_id: int) -> bytes:
        """多媒体数据上传应答: nothing is missing."""
        edition = edition_of(frame, session.edition)
        return self._reply(session.link, frame, MEDIUM_REPLY, complete_body(media_id, frame.serial, edition))

    def _tell_time(self, session: Session, frame: Frame) -> bytes:
        """查询服务器时间应答, the one message whose time is UTC."""
        return self._reply(session.link, frame, TIME, _time_body(self._now_us // 1_000_000))

    def _send_again(self, session: Session, frame: Frame) -> bytes:
        """终端补传分包请求: the same fragments once more. One that cannot be read asks for none."""
        asked = decode_frame(frame, edition_of(frame, session.edition))
        found: list[bytes] = []
        if session.sent is not None and not isinstance(asked, Undecodable):
            found = session.sent.find(asked["original_serial"], asked["package_ids"])
        return b"".join(found) or self._general_reply(session.link, frame, FAILED)

    def _exchange_keys(self, session: Session, frame: Frame) -> bytes:
        """终端RSA公钥 is answered with ours, 2013 §7.11."""
        if self._public_key is None:
            return self._general_reply(session.link, frame, DONE)
        fields = {"rsa_e": self._public_key.rsa_e, "rsa_n": self._public_key.rsa_n}
        body = encode_body(PLATFORM_KEY, edition_of(frame), fields)
        return self._reply(session.link, frame, PLATFORM_KEY, body)

    def send(self, session: Session, msg_id: int, body: bytes) -> tuple[bytes, range]:
        """Address a message to a terminal; give the bytes to write and the serials of its fragments, which
        wrap behind 65535.

        Raises:
            LocalProtocolError: it fits no frames.
        """
        address, slot = session.address, session.link.slot
        first = int(self._table.serial[slot])
        frames = divide(Frame(msg_id, address.raw_id, first, body, address.version))
        wire = b"".join(frame.encode() for frame in frames)
        self._table.serial[slot] = (first + len(frames)) % SERIALS
        if len(frames) > 1:
            session.sent = session.sent or KeptPackets()
            session.sent.keep(frames)
        return wire, range(first, first + len(frames))

    def ask_again(self, now: float) -> Iterator[tuple[Link, bytes]]:
        """Give what asks connected terminals for the fragments that are missing by now."""
        for request in self.repairs.due(now, self._is_heard):
            session = self._sessions.of(request.key.terminal)
            assert session is not None
            edition = Edition.E2019 if session.address.version is not None else session.edition
            edition = edition or Edition.E2013
            message = request_message(request, edition)
            self.repairs.asked(request, now)
            if message is not None:
                msg_id, fields = message
                yield session.link, self.send(session, msg_id, encode_body(msg_id, edition, fields))[0]

    def _is_heard(self, terminal: int) -> bool:
        """Tell whether a terminal is connected, and what it says counts."""
        session = self._sessions.of(terminal)
        return session is not None and session.verdict.counts and not session.link.is_lost

    def recall(self, frame: Frame, at: float) -> None:
        """Remember a fragment that an earlier gateway received at `at`, by the loop's clock."""
        known = _edition_named(self._fleet.terminal(frame.identity).edition)
        if frame.msg_id in ANSWERS:
            self.repairs.note(int.from_bytes(frame.raw_id), frame, edition_of(frame, known), at)

    def _register(self, session: Session, frame: Frame) -> bytes:
        """终端注册. A body that cannot be read says nothing of a terminal, and gets no code."""
        edition = edition_of(frame)
        fields = decode_frame(frame, edition)
        if isinstance(fields, Undecodable):
            self._complain(session, "the registration cannot be read")
            return self._general_reply(session.link, frame, UNREADABLE)
        session.edition = edition
        plate = (str(fields["plate_number"]).strip(), int(fields["plate_color"]))
        conflict = self._fleet.conflict(session.identity, plate, only_known=self.only_known)
        if conflict is None and self._sessions.speaks_beside(session, self._now):
            conflict = Conflict(3, "the terminal speaks on another link")
        if conflict is None:
            return self._register_reply(session.link, frame, DONE)
        self._complain(session, conflict.reason)
        return self._register_reply(session.link, frame, conflict.result)

    def _authenticate(self, session: Session, frame: Frame) -> int:
        """终端鉴权. Give the result."""
        terminal = self._fleet.terminal(session.identity)
        if self.only_known and not terminal.known:
            return FAILED
        if not any(
            self._credentials.accepts(session.identity, code, terminal.epoch) for code in _codes(frame)
        ):
            self._complain(session, "the authentication code is wrong")
            return FAILED
        self._sessions.authenticate(session, terminal.epoch, self._now_us)
        return DONE

    def _complain(self, session: Session, reason: str) -> None:
        """Say once in a session why its terminal is refused; it may try again without end."""
        if not session.is_complained_of:
            session.is_complained_of = True
            log.warning("terminal refused", terminal=session.identity, peer=session.link.peer, reason=reason)

    def _confess(self, session: Session, frame: Frame) -> None:
        """Report a mistake of ours, once for each id: it comes back with the next such frame."""
        self.mistakes += 1
        if frame.msg_id not in self._confessed:
            self._confessed.add(frame.msg_id)
            log.exception("frame not handled", terminal=session.identity, frame=frame.plain().hex())

    def _register_reply(self, link: Link, frame: Frame, result: int) -> bytes:
        fields: dict[str, object] = {"ack_serial": frame.serial, "result": result}
        if result == DONE:
            fields["auth_code"] = self._credentials.code(
                frame.identity, self._fleet.terminal(frame.identity).epoch
            )
        return self._reply(
            link, frame, REGISTER_REPLY, encode_body(REGISTER_REPLY, edition_of(frame), fields)
        )

    def _general_reply(self, link: Link, frame: Frame, result: int) -> bytes:
        body = _GENERAL_REPLY.pack(frame.serial, frame.msg_id, result)
        return self._reply(link, frame, PLATFORM_REPLY, body)

    def _reply(self, link: Link, frame: Frame, msg_id: int, body: bytes) -> bytes:
        """Address a message to the sender of `frame`, by the id and in the edition of its header."""
        serial = self._table.next_serial(link.slot)
        return Frame(msg_id, frame.raw_id, serial, body, frame.version).encode()


@lru_cache(1)
def _time_body(unix_s: int) -> bytes:
    """Give the body of 0x8004, packed once for all who ask within the second."""
    return encode_body(TIME, Edition.E2019, {"time": datetime.fromtimestamp(unix_s, UTC)})


def _codes(frame: Frame) -> list[str]:
    """Give what may be the code in 0x0102: as declared, and all of the body for devices that send
    nothing else.
    """
    if frame.cipher:
        return []
    codes = [frame.body.decode("ascii", "replace")]
    fields = decode_frame(frame, edition_of(frame))
    if not isinstance(fields, Undecodable):
        codes.append(str(fields["auth_code"]))
    return codes


def _edition_named(name: str) -> Edition | None:
    return Edition(name) if name else None


_OWN_ANSWERS: Final[dict[Answer, Callable[[Reception, Session, Frame], bytes]]] = {
    Answer.TIME: Reception._tell_time,
    Answer.FRAGMENTS: Reception._send_again,
    Answer.MEDIUM: Reception._medium,
    Answer.KEY: Reception._exchange_keys,
}
"""What is answered with a message of its own, once its terminal may ask."""

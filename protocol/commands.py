"""平台主发的消息, what the platform asks of a terminal, and which answer completes it. 2013 §6.1.1 and §7.

A command goes through **stages**. Most have one, 终端通用应答 (0x0001). Some answer with a message of their
own, and a few say first that they understood and then what came of it. The answer of a later stage stands
for the earlier ones, whose answer may have got lost; a general reply that no stage asks for says that the
terminal got the command and nothing more; one with another result than 0 ends any command.

An answer names its command **by serial**, or, where the standard gave it no room for that, **by id**: then
it answers the one command of that kind that is outstanding, so send one at a time. Terminals also send some
of these messages by themselves; what happened after the command was sent does not answer it.

Nothing here sends or waits. Who does keeps an `Outstanding`, shows it what the terminal says, and sends
again after `wait_s`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from math import factorial
from typing import Any, Final, NamedTuple, TypeAlias

from protocol.frame import SERIALS
from protocol.message import DOWN, TERMINAL_REPLY
from protocol.messages import MESSAGES

ACCEPTED: Final = 0
"""Result of a general reply that is not a refusal."""


class By(StrEnum):
    """How an answer names its command."""

    SERIAL = "serial"
    """It begins with 应答流水号."""
    ID = "id"
    """It does not."""


class Answer(NamedTuple):
    """A message that answers."""

    msg_id: int
    by: By


Stage: TypeAlias = tuple[Answer, ...]
"""Answers of which any one will do."""

GENERAL: Final = Answer(TERMINAL_REPLY, By.SERIAL)


@dataclass(frozen=True, slots=True)
class Command:
    """One kind of message that the platform sends and the terminal answers."""

    id: int
    stages: tuple[Stage, ...] = ((GENERAL,),)
    """In order; an answer of the last one completes it."""
    later: tuple[int, ...] = ()
    """What the terminal sends afterwards because of it, without naming it."""

    @property
    def by_id(self) -> bool:
        """An answer does not name it, so only one of this kind can be outstanding."""
        return any(answer.by is By.ID for stage in self.stages for answer in stage)


def _by_serial(*msg_ids: int) -> Stage:
    return tuple(Answer(msg_id, By.SERIAL) for msg_id in msg_ids)


def _by_id(msg_id: int) -> Stage:
    return (Answer(msg_id, By.ID),)


_OWN_ANSWERS: Final = (
    Command(0x8104, (_by_serial(0x0104),)),
    Command(0x8106, (_by_serial(0x0104),)),
    Command(0x8107, (_by_id(0x0107),)),
    Command(0x8108, later=(0x0108,)),
    Command(0x8201, (_by_serial(0x0201),)),
    Command(0x8202, later=(0x0200,)),
    Command(0x8302, ((GENERAL,), _by_serial(0x0302))),
    Command(0x8500, ((GENERAL,), _by_serial(0x0500))),
    Command(0x8608, (_by_id(0x0608),)),
    Command(0x8700, (_by_serial(0x0700),)),
    Command(0x8702, (_by_id(0x0702),)),
    # 2013 says 0x0001 in §7.9.3 and 0x0805 in §8.55.
    Command(0x8801, ((GENERAL, *_by_serial(0x0805)),), later=(0x0801,)),
    Command(0x8802, (_by_serial(0x0802),)),
    Command(0x8803, later=(0x0801,)),
    Command(0x8804, later=(0x0801,)),
    Command(0x8805, later=(0x0801,)),
    Command(0x8900, later=(0x0900,)),
    Command(0x8A00, (_by_id(0x0A00),)),
    Command(0x9003, (_by_id(0x1003),)),
    Command(0x9201, (_by_serial(0x1205),)),
    Command(0x9205, (_by_serial(0x1205),)),
    Command(0x9206, ((GENERAL,), _by_serial(0x1206))),
    Command(0x9208, later=(0x1210,)),
)

COMMANDS: Final[dict[int, Command]] = {
    declared.id: Command(declared.id)
    for declared in MESSAGES.values()
    if declared.direction is DOWN and declared.answer is not None
} | {command.id: command for command in _OWN_ANSWERS}
"""Every declared message from the platform that wants an answer."""


def command_of(msg_id: int) -> Command:
    """Give the command with this id; a maker's own is taken to want a general reply."""
    return COMMANDS.get(msg_id) or Command(msg_id)


class State(StrEnum):
    """How far a command has come."""

    SENT = "sent"
    ACKNOWLEDGED = "acknowledged"
    """The terminal has it, and more is to come."""
    ANSWERED = "answered"
    FAILED = "failed"
    """The terminal refused it."""
    TIMED_OUT = "timed_out"


class Event(StrEnum):
    """What happens to a command."""

    ACKNOWLEDGES = "acknowledges"
    COMPLETES = "completes"
    REFUSES = "refuses"
    TIME_OUT = "time_out"
    """It was sent as often as it may be, and its last wait is over."""


NEXT: Final[Mapping[tuple[State, Event], State]] = {
    (State.SENT, Event.ACKNOWLEDGES): State.ACKNOWLEDGED,
    (State.SENT, Event.COMPLETES): State.ANSWERED,
    (State.SENT, Event.REFUSES): State.FAILED,
    (State.SENT, Event.TIME_OUT): State.TIMED_OUT,
    (State.ACKNOWLEDGED, Event.ACKNOWLEDGES): State.ACKNOWLEDGED,
    (State.ACKNOWLEDGED, Event.COMPLETES): State.ANSWERED,
    (State.ACKNOWLEDGED, Event.REFUSES): State.FAILED,
    (State.ACKNOWLEDGED, Event.TIME_OUT): State.TIMED_OUT,
}
"""The life of a command. What is not here changes nothing: an end is an end."""


@dataclass(frozen=True, slots=True)
class Outstanding:
    """A command that was sent, as a value."""

    command: Command
    serial: int
    """Of its first fragment."""
    fragments: int = 1
    sent_at: datetime | None = None
    """By a clock that can be compared with the terminal's, where there is one."""
    state: State = State.SENT
    replied: frozenset[int] = field(default=frozenset())
    """Serials of its fragments that a general reply has accepted."""

    @property
    def serials(self) -> frozenset[int]:
        """The serials of its fragments: a terminal replies to each, or only to the last."""
        return frozenset((self.serial + index) % SERIALS for index in range(self.fragments))

    @property
    def last_serial(self) -> int:
        return (self.serial + self.fragments - 1) % SERIALS

    def after(self, event: Event | None) -> "Outstanding":
        """Give what it is after an event; None changes nothing."""
        following = NEXT.get((self.state, event)) if event else None
        return replace(self, state=following) if following else self

    def told(self, msg_id: int, fields: Mapping[str, Any]) -> "Outstanding":
        """Give what it is after the terminal has sent a message, whatever that is about."""
        known = self
        if msg_id == TERMINAL_REPLY and _is_about(self, fields) and fields["result"] == ACCEPTED:
            known = replace(self, replied=self.replied | {fields["ack_serial"]})
        return known.after(meaning(known, msg_id, fields))


def meaning(outstanding: Outstanding, msg_id: int, fields: Mapping[str, Any]) -> Event | None:
    """Say what a message means for a command; None if it is not about it.

    `fields` is the decoded body, as its declaration names it.
    """
    stages = outstanding.command.stages
    if msg_id == TERMINAL_REPLY:
        if not _is_about(outstanding, fields):
            return None
        if fields["result"] != ACCEPTED:
            return Event.REFUSES
        if GENERAL not in stages[-1]:
            return Event.ACKNOWLEDGES
        replied = outstanding.replied | {fields["ack_serial"]}
        arrived = outstanding.last_serial in replied or replied >= outstanding.serials
        return Event.COMPLETES if arrived else None
    for stage in stages:
        for answer in stage:
            if answer.msg_id == msg_id and _answers(outstanding, fields):
                return Event.COMPLETES if stage is stages[-1] else Event.ACKNOWLEDGES
    return None


def _is_about(outstanding: Outstanding, fields: Mapping[str, Any]) -> bool:
    """Say whether a general reply names this command."""
    return (
        fields.get("ack_msg_id") == outstanding.command.id and fields.get("ack_serial") in outstanding.serials
    )


def _answers(outstanding: Outstanding, fields: Mapping[str, Any]) -> bool:
    """Say whether a message of the right id answers this command.

    In 2011 some answers have no serial yet that have one since; they answer by id.
    """
    if "ack_serial" in fields:
        return fields["ack_serial"] in outstanding.serials
    return not _happened_since(outstanding, fields)


def _happened_since(outstanding: Outstanding, fields: Mapping[str, Any]) -> bool:
    """Say whether a message tells of something that happened after the command was sent, so that the
    terminal would have sent it anyway: 0x0702 when a driver puts a card in or takes it out.
    """
    happened_at = fields.get("card_time")
    return (
        isinstance(happened_at, datetime)
        and outstanding.sent_at is not None
        and happened_at >= outstanding.sent_at
    )


def wait_s(first_s: float, retries: int) -> float:
    """Give how long to wait for an answer after the `retries`-th retransmission, 0 being the first sending.

    T(N+1) = T(N) × (N+1), where N counts the retransmissions (2013 §6.1.1): with 10 s first that is 10, 10,
    20, 60, 240 s.
    """
    return first_s * factorial(retries)

"""Both sides of a link talk to each other, in any chunking, and neither can be talked into trouble."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import connection
from protocol.connection import Address, Connection, Received, Role, Sent, Terminal
from protocol.deframer import RejectedBytes
from protocol.edition import Edition
from protocol.errors import LocalProtocolError
from protocol.frame import MAX_BODY, Frame
from protocol.messages import Undecodable
from protocol.messages.location import location
from tests.protocol.strategies import cut

NOON = datetime(2026, 1, 31, 4, 0, tzinfo=UTC)
SHENYANG = location(41.8057, 123.4315, NOON, speed_kmh=62.3, extras={"0x01": 123456})


def received(link: Connection, data: bytes, now: float = 0.0) -> list[Received]:
    """What arrives on a good link."""
    events = link.receive(data, now)
    assert all(isinstance(event, Received) for event in events)
    return [event for event in events if isinstance(event, Received)]


@pytest.mark.parametrize("edition", Edition)
def test_a_session_in_every_edition(edition: Edition) -> None:
    terminal, platform = Terminal("13912345678", edition), Connection(Role.PLATFORM)

    assert terminal.register("辽A12345", 2, 1.0, manufacturer_id="NWCAR", terminal_id="N42") == 0
    (registration,) = received(platform, terminal.data_to_send(), 1.1)
    assert registration.edition is edition and registration.at == 1.1
    fields = registration.fields()
    assert isinstance(fields, dict)
    assert (fields["plate_number"], fields["plate_color"], fields["terminal_id"]) == ("辽A12345", 2, "N42")

    welcome = {"ack_serial": registration.frame.serial, "result": 0, "auth_code": "9f3c"}
    platform.send(0x8100, welcome, connection.address_of(registration.frame))
    (answer,) = received(terminal, platform.data_to_send(), 1.2)
    assert answer.answers == Sent(0x0100, 0, 1.0) and answer.fields() == welcome

    serials = [
        terminal.authenticate("9f3c", 2.0),
        terminal.heartbeat(2.0),
        terminal.report(SHENYANG, 2.0),
        terminal.report_batch([SHENYANG] * 2, 2.0, from_blind_zone=True),
        terminal.deregister(2.0),
    ]
    assert serials == [1, 2, 3, 4, 5]
    assert [sent.serial for sent in terminal.unanswered(terminal.address)] == serials
    messages = received(platform, terminal.data_to_send())
    assert [message.frame.msg_id for message in messages] == [0x0102, 0x0002, 0x0200, 0x0704, 0x0003]
    assert {message.edition for message in messages} == {edition}  # remembered from the registration
    for message in messages:
        platform.reply(message.frame)
    answers = received(terminal, platform.data_to_send())
    assert [answer.answers and answer.answers.serial for answer in answers] == serials
    assert terminal.unanswered(terminal.address) == ()
    assert platform.data_to_send() == terminal.data_to_send() == b""


def test_the_platform_is_answered_by_the_terminal_in_the_same_way() -> None:
    terminal, platform = Terminal("13912345678"), Connection(Role.PLATFORM)
    platform.send(0x8E00, b"vendor's own", terminal.address, 5.0)
    (command,) = received(terminal, platform.data_to_send())
    assert command.fields() == Undecodable(b"vendor's own", "message id 0x8e00 is unknown")
    terminal.reply(command.frame, 3)
    (answer,) = received(platform, terminal.data_to_send())
    assert answer.answers == Sent(0x8E00, 0, 5.0)
    assert answer.fields() == {"ack_serial": 0, "ack_msg_id": 0x8E00, "result": 3}


def spoken(say: Callable[[Terminal], int]) -> bytes:
    """What a terminal's words are on the wire."""
    terminal = Terminal("13912345678")
    say(terminal)
    return terminal.data_to_send()


SPEECH = (
    spoken(Terminal.heartbeat),
    spoken(lambda terminal: terminal.report(SHENYANG)),
    spoken(lambda terminal: terminal.report_batch([SHENYANG] * 40, from_blind_zone=True)),
)


@given(
    st.lists(st.sampled_from(SPEECH) | st.binary(max_size=40), max_size=12), st.lists(st.integers(0, 20_000))
)
def test_chunking_changes_nothing(speech: list[bytes], at: list[int]) -> None:
    stream = b"".join(speech)
    link = Connection(Role.PLATFORM)
    pieces = [event for chunk in cut(stream, at) for event in link.receive(chunk, 0.0)]
    assert pieces == Connection(Role.PLATFORM).receive(stream, 0.0)


@given(st.sampled_from(Role), st.binary(max_size=300))
def test_any_bytes_raise_nothing(role: Role, data: bytes) -> None:
    link = Connection(role)
    for event in link.receive(data, 0.0) + link.receive(b"\x7e" + data + b"\x7e", 0.0):
        if isinstance(event, Received):
            event.fields()
            link.reply(event.frame)


def test_a_bad_frame_is_an_event_and_its_neighbours_live() -> None:
    terminal, platform = Terminal("13912345678"), Connection(Role.PLATFORM)
    terminal.heartbeat()
    good = terminal.data_to_send()
    bad = good[:-2] + bytes((good[-2] ^ 1,)) + b"\x7e"
    first, rejected, last = platform.receive(good + bad + good, 0.0)
    assert isinstance(first, Received) and isinstance(last, Received)
    assert rejected == RejectedBytes("bad_checksum", bad[1:-1])


def test_serials_wrap_behind_65535() -> None:
    terminal = Terminal("1", first_serial=65534)
    assert [terminal.heartbeat() for _ in range(4)] == [65534, 65535, 0, 1]


@given(st.binary(min_size=MAX_BODY + 1, max_size=5 * MAX_BODY), st.integers(65530, 65535), st.booleans())
def test_long_bodies_are_split_into_fragments_with_consecutive_serials(
    body: bytes, first: int, new: bool
) -> None:
    terminal = Terminal("13912345678", Edition.E2019 if new else Edition.E2013, first_serial=first)
    assert terminal.say(0x0F00, body, 7.0) == first
    frames = [event.frame for event in received(Connection(Role.PLATFORM), terminal.data_to_send())]
    total = -(-len(body) // MAX_BODY)
    assert [frame.fragment for frame in frames] == [(total, index) for index in range(1, total + 1)]
    assert [frame.serial for frame in frames] == [(first + index) % 65536 for index in range(total)]
    assert b"".join(frame.body for frame in frames) == body
    assert len(terminal.unanswered(terminal.address)) == total
    assert terminal.heartbeat() == (first + total) % 65536


def test_one_link_may_carry_several_terminals() -> None:
    platform = Connection(Role.PLATFORM)
    cars = [Terminal("1", Edition.E2011), Terminal("2", Edition.E2019), Terminal("3")]
    for car in cars:
        car.register("辽A12345", 2)
    stream = b"".join(car.data_to_send() for car in cars)
    for event in received(platform, stream):
        assert platform.reply(event.frame) == 0  # every terminal has its own counter
    answers = platform.data_to_send()
    assert len(answers) > 0
    for car in cars:
        mine = [e for e in received(Terminal("9"), answers) if e.frame.raw_id == car.address.raw_id]
        assert [event.frame.version for event in mine] == [car.address.version]


def test_an_answer_is_counted_once_and_a_stranger_never() -> None:
    terminal, platform = Terminal("13912345678"), Connection(Role.PLATFORM)
    serial = terminal.heartbeat()
    (heartbeat,) = received(platform, terminal.data_to_send())
    platform.reply(heartbeat.frame)
    answer = platform.data_to_send()
    assert [event.answers is not None for event in received(terminal, answer + answer)] == [True, False]
    stranger = Frame(0x8001, bytes(6), 0, serial.to_bytes(2) + b"\0\2\0")
    terminal.heartbeat()
    assert received(terminal, stranger.encode())[0].answers is None


def test_what_nobody_answers_is_bounded(monkeypatch: Any) -> None:
    monkeypatch.setattr(connection, "MAX_UNANSWERED", 3)
    monkeypatch.setattr(connection, "MAX_ADDRESSES", 2)
    terminal = Terminal("1")
    for _ in range(5):
        terminal.heartbeat()
    assert [sent.serial for sent in terminal.unanswered(terminal.address)] == [2, 3, 4]
    platform = Connection(Role.PLATFORM)
    for id in range(5):
        platform.send(0x8001, b"", Address(bytes((0, 0, 0, 0, 0, id))))
    assert len(platform._counterparts) == 2


def test_our_own_mistakes_queue_nothing() -> None:
    terminal = Terminal("1")
    with pytest.raises(LocalProtocolError):
        terminal.report({"alarm": 0})
    with pytest.raises(LocalProtocolError):
        Connection(Role.PLATFORM).send(0x8001, b"", Address(bytes(5)))
    with pytest.raises(LocalProtocolError, match="fragments"):
        terminal.say(0x0F00, bytes(MAX_BODY * 65536))
    assert terminal.data_to_send() == b"" and terminal.heartbeat() == 0

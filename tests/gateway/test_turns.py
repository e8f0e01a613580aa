"""A turn is short, whatever is to be read: what is too much of it waits for the next, and who has little goes
first.
"""

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import pipeline
from gateway.allowance import BY_HAND_BYTES
from gateway.links import READ_BUDGET, Link
from gateway.reception import Reception
from gateway.repairs import complete_body
from gateway.server import FIRST_FRAME_S
from protocol.edition import Edition
from protocol.frame import Frame
from protocol.messages import encode_body
from store.records import CloseReason, SessionClosed
from tests.gateway.device import Device, logged, running, until
from tests.gateway.test_pipeline import CHUNKS, Gate, Said, wire

GREEDY = 200
SLACK = pipeline.COLUMNS_PAY_BYTES // 14
"""So many frames may be in what is too little for columns."""
HEARTBEAT = 0x0002
NOW_US = 1_764_000_000_000_000


def repeated(terminal: int, size: int, msg_id: int, body: bytes, fragment: tuple[int, int] | None) -> bytes:
    """Give up to `size` bytes of one frame of a terminal, again and again."""
    frame = Frame(msg_id, terminal.to_bytes(6), 1, body, None, fragment).encode()
    return frame * (size // len(frame))


def read(gate: Gate, links: list[Link]) -> tuple[dict[int, bytes], list[Link]]:
    """Read one turn; give the answers by slot, and the links that were left."""
    _, answers = gate.pipeline.read(links, 1.0, NOW_US)
    assert gate.counts.mistakes == gate.reception.mistakes == 0
    left, gate.pipeline.left = gate.pipeline.left, []
    for link in left:
        link.waited += 1
    replies: dict[int, bytes] = defaultdict(bytes)
    for link, data in answers:
        replies[link.slot] += data
    return replies, left


@pytest.fixture
def handled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done by hand, one entry for each frame."""
    done: list[str] = []

    def counted(where: Any, name: str) -> Callable[..., Any]:
        original = getattr(where, name)

        def call(*args: Any) -> Any:
            done.append(name)
            return original(*args)

        return call

    monkeypatch.setattr(Reception, "receive", counted(Reception, "receive"))
    monkeypatch.setattr(pipeline, "parse", counted(pipeline, "parse"))  # of fragments among columns
    return done


@pytest.mark.parametrize(
    ("msg_id", "body", "fragment"),
    [
        pytest.param(0x0004, b"", None, id="0x0004"),
        pytest.param(0x0001, bytes(5), None, id="0x0001"),
        pytest.param(0x0102, b"x", None, id="0x0102"),
        pytest.param(0x0801, bytes(4), None, id="0x0801"),
        pytest.param(0x0200, b"", (9, 1), id="fragments"),
    ],
)
def test_a_turn_reads_so_many_frames_by_hand_and_who_has_little_first(
    tmp_path: Path, handled: list[str], msg_id: int, body: bytes, fragment: tuple[int, int] | None
) -> None:
    gate = Gate(tmp_path, only_known=False, links=GREEDY + 1)
    for link in gate.links:
        link.unread = repeated(link.slot + 1000, 15, HEARTBEAT, b"", None)
    assert not read(gate, gate.links)[1]
    for link in gate.links:
        link.unread += repeated(link.slot + 1000, READ_BUDGET - 1, msg_id, body, fragment)
    honest = gate.links[-1]
    honest.unread = repeated(honest.slot + 1000, 40, msg_id, body, fragment)
    left = gate.links
    for _ in range(3):
        del handled[:]
        waiting = len(left)
        _, left = read(gate, left)
        assert 0 < len(handled) <= pipeline.TURN_BY_HAND + SLACK
        assert len(left) < waiting and honest not in left, "in the first turn"


def test_a_turn_reads_so_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "TURN_BY_HAND", 1 << 30)
    monkeypatch.setattr(pipeline, "TURN_BYTES", 10 * READ_BUDGET)
    monkeypatch.setattr(pipeline, "PORTION_BYTES", READ_BUDGET)
    gate = Gate(tmp_path, only_known=False, links=31)
    for link in gate.links:
        link.unread = repeated(link.slot + 1000, READ_BUDGET, HEARTBEAT, b"", None)
    honest = gate.links[-1]
    honest.unread = repeated(honest.slot + 1000, 15, HEARTBEAT, b"", None)
    left, waiting = gate.links, []
    while left:
        waiting.append(len(left))
        _, left = read(gate, left)
        assert honest not in left
    assert waiting == [31, 20, 10], "ten of the large ones at a time"


def test_who_has_waited_long_goes_before_who_comes_with_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "TURN_BY_HAND", 600)
    gate = Gate(tmp_path, only_known=False, links=20)
    large, others = gate.links[0], gate.links[1:]
    large.unread = repeated(1000, READ_BUDGET, 0x0004, b"", None)
    left, turns = [large], 0
    while large in left:
        for link in others:
            if link not in left:
                link.unread += repeated(link.slot + 1000, 1500, 0x0004, b"", None)
                link.waited = 0
                left.append(link)
        _, left = read(gate, left)
        turns += 1
    assert 1 < turns < 30


@settings(deadline=None, max_examples=50)
@given(chunks=CHUNKS, by_hand=st.integers(6, 12), size=st.integers(400, 2000))
def test_turns_change_nothing_but_the_time(
    chunks: dict[int, list[Said | bytes]], by_hand: int, size: int
) -> None:
    outcomes = []
    for bounds in ((by_hand, size), (1 << 30, 1 << 30)):
        with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            patch.setattr(pipeline, "COLUMNS_PAY_BYTES", 0)
            patch.setattr(pipeline, "PORTION_BYTES", 100)
            for name, bound in zip(("TURN_BY_HAND", "TURN_BYTES"), bounds, strict=True):
                patch.setattr(pipeline, name, bound)
            gate = Gate(Path(folder), only_known=False)
            for index, data in wire(chunks, 0).items():
                gate.links[index].unread = data
            left, answers = [gate.links[index] for index in sorted(chunks)], dict[int, bytes]()
            while left:
                replies, left = read(gate, left)
                answers |= {slot: answers.get(slot, b"") + data for slot, data in replies.items() if data}
            outcomes.append((answers, gate.counts.frames, gate.counts.rejected))
    assert outcomes[0] == outcomes[1]


async def test_what_waits_is_answered_in_order_and_its_sender_is_not_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "TURN_BY_HAND", 50)
    monkeypatch.setattr(pipeline, "COLUMNS_PAY_BYTES", 0)
    waited: list[int] = []
    async with running(tmp_path) as gateway:
        wait = Link.wait

        def noted(link: Link) -> None:
            wait(link)
            waited.append(link.slot)
            gateway._table.heard[link.slot] -= FIRST_FRAME_S + 1
            gateway._close_silent(gateway._loop.time())

        monkeypatch.setattr(Link, "wait", noted)
        devices = [await Device.connect(gateway, str(number)) for number in range(1, 11)]
        asked = [device.terminal.heartbeat() for device in devices]
        for device, serial in zip(devices, asked, strict=True):
            assert await device.result(serial) == 0
        for round_ in range(3):
            for device in devices:
                for _ in range(40):
                    device.terminal.authenticate("x")
            data = [device.terminal.data_to_send() for device in devices]
            for device, each in zip(devices, data, strict=True):
                device.writer.write(each)
            for device in devices:
                serials = [(await device.fields())["ack_serial"] for _ in range(40)]
                assert serials == list(range(1 + 40 * round_, 41 + 40 * round_))
        assert waited
        for device in devices:
            for _ in range(40):
                device.terminal.authenticate("x")
            device.flush()
            device.writer.close()
        await until(lambda: gateway.health()["connections"] == 0)
        assert gateway.health()["mistakes"] == gateway.health()["sessions"] == 0
    log = logged(tmp_path / "log")
    assert len(log.frames) >= 10 * (1 + 3 * 40) + 9 * 40
    assert {event.reason for event in log.of(SessionClosed)} <= {CloseReason.PEER_CLOSED}
    assert len(log.of(SessionClosed)) == 10, "what waited of a lost link opens no second session"


@pytest.mark.parametrize("columns_pay", [0, 1 << 30], ids=["columns", "singly"])
def test_a_frame_by_hand_counts_as_more_whichever_way_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns_pay: int
) -> None:
    monkeypatch.setattr(pipeline, "COLUMNS_PAY_BYTES", columns_pay)
    gate = Gate(tmp_path, only_known=False)
    link = gate.links[0]
    link.unread = data = repeated(1000, 150, 0x0004, b"", None)
    read(gate, [link])
    assert gate.table.accounts.owed[link.slot] == len(data) + 10 * BY_HAND_BYTES


@pytest.mark.parametrize("edition", list(Edition))
def test_the_packed_answer_is_as_declared(edition: Edition) -> None:
    fields: dict[str, object] = {"ack_serial": 7, "media_id": 0x01020304}
    if edition is Edition.E2011:
        fields["package_ids"] = []
    assert complete_body(0x01020304, 7, edition) == encode_body(0x8800, edition, fields)

"""Columns and single frames are two ways to the same result."""

from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import pipeline
from gateway.credentials import Credentials
from gateway.fleet import Fleet, FleetData, FleetTerminal
from gateway.links import Link, LinkTable
from gateway.lobby import Lobby, LobbyLimits
from gateway.pipeline import Counts, Pipeline
from gateway.reception import Reception
from gateway.sessions import Sessions
from gateway.standing import Standings
from protocol.frame import Frame
from store.records import Event, FrameFlag, Frames

SECRET = bytes(32)
LINKS = 4

POOL = [1, 2, 0xABCDEF, 0x13912345678, 3, 4, 5, 6]
"""Terminals, of which 0xABCDEF is blocked. In one turn each speaks on one link only, since the order of
links in a turn is nobody's business; from turn to turn they move on.
"""

FLEET = {
    "1": FleetTerminal(known=True),
    "2": FleetTerminal(registered=True),
    "3": FleetTerminal(known=True, speaks_without_code=True),
    "4": FleetTerminal(registered=True, speaks_without_code=True),
    "5": FleetTerminal(speaks_without_code=True),
    "ABCDEF": FleetTerminal(blocked=True),
}
"""Every standing; the others of `POOL` are strangers."""

MSG_IDS = [0x0001, 0x0002, 0x0003, 0x0100, 0x0102, 0x0200, 0x0200, 0x0200, 0x0704, 0x1234, 0x8001]
BODIES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"}~}~", bytes(28), *(Credentials(SECRET).code(each).encode() for each in "1236")]),
)


class Said(NamedTuple):
    """A frame before it is known who says it."""

    which: int
    msg_id: int
    serial: int
    body: bytes
    is_2019: bool
    is_fragment: bool

    def encode(self, link: int, turn: int) -> bytes:
        number = POOL[(self.which * LINKS + link + turn) % len(POOL)]
        raw_id = number.to_bytes(10 if self.is_2019 else 6)
        version, fragment = 1 if self.is_2019 else None, (2, 1) if self.is_fragment else None
        return Frame(self.msg_id, raw_id, self.serial, self.body, version, fragment).encode()


def unescaped_checksum(number: int) -> bytes:
    """A heartbeat whose sender forgot to escape its checksum."""
    plains = (Frame(0x0002, number.to_bytes(6), serial, b"").plain() for serial in range(65536))
    plain = next(plain for plain in plains if plain[-1] == 0x7D and not {0x7D, 0x7E} & set(plain[:-1]))
    return b"\x7e" + plain + b"\x7e"


FRAMES = st.builds(
    Said,
    st.integers(0, 1),
    st.sampled_from(MSG_IDS),
    st.integers(0, 65535),
    BODIES,
    st.booleans(),
    st.integers(0, 9).map(lambda n: n == 0),
)
NOISE = st.one_of(st.binary(max_size=20), st.just(b"\x7e\x7d\x05\x7e"))
CHUNKS = st.dictionaries(
    st.integers(0, LINKS - 1), st.lists(st.one_of(FRAMES, FRAMES, FRAMES, NOISE), max_size=5), max_size=LINKS
)


def wire(chunks: dict[int, list[Said | bytes]], turn: int) -> dict[int, bytes]:
    return {
        link: b"".join(piece.encode(link, turn) if isinstance(piece, Said) else piece for piece in pieces)
        for link, pieces in chunks.items()
    }


class Gate:
    """Pipeline and all that it needs, without a loop."""

    def __init__(self, folder: Path, *, only_known: bool, links: int = LINKS) -> None:
        self.table = LinkTable(links)
        numbers = count(1)
        fleet = Fleet(folder / "fleet.json")
        fleet.replace(FleetData(FLEET))
        standings = Standings(fleet, only_known=only_known)
        self.sessions = Sessions(self.table, lambda _: next(numbers), standings)
        self.counts = Counts()
        lobby = Lobby(LobbyLimits(most=7), fleet)
        self.reception = Reception(
            self.table, self.sessions, fleet, Credentials(SECRET), lobby, only_known=only_known
        )
        self.pipeline = Pipeline(self.table, self.sessions, self.reception, self.counts)
        self.links = [Link(None) for _ in range(links)]  # type: ignore[arg-type]
        for link in self.links:
            self.table.admit(link, 0.0)
            link.number = link.slot

    def turn(self, chunks: dict[int, bytes], now: float) -> dict[str, Any]:
        """Read chunks by link and give everything that came of it."""
        links = []
        for index, chunk in sorted(chunks.items()):
            self.links[index].unread += chunk
            links.append(self.links[index])
        records, answers = self.pipeline.read(links, now, int(now))
        assert self.counts.mistakes == self.reception.mistakes == 0
        outcome = {
            "records": sorted(map(comparable, records), key=repr),
            "answers": {link.slot: data for link, data in answers if data},
            "opened": self.sessions.opened[:],
            "closed": self.sessions.closed[:],
            "forsaken": [(link.slot, reason) for link, reason in self.sessions.forsaken],
            "tails": [link.unread if len(link.unread) > 1 else b"" for link in self.links],
            "bound": self.table.session.tolist(),
            "unfinished": self.table.half_since.tolist(),
            "serials": self.table.serial.tolist(),
        }
        for events in (self.sessions.opened, self.sessions.closed, self.sessions.forsaken):
            events.clear()
        return outcome


def comparable(record: Frames | Event) -> Any:
    if isinstance(record, Frames):
        return (
            record.sessions.tolist(), record.lengths.tolist(), record.flags.tolist(), record.data.tobytes()
        )  # fmt: skip
    return record


@settings(deadline=None, max_examples=200)
@given(turns=st.lists(CHUNKS, max_size=5), only_known=st.booleans())
def test_columns_find_what_single_reading_finds(
    turns: list[dict[int, list[Said | bytes]]], only_known: bool
) -> None:
    outcomes = []
    for threshold in (0, 1 << 30):
        with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            patch.setattr(pipeline, "COLUMNS_PAY_BYTES", threshold)
            gate = Gate(Path(folder), only_known=only_known)
            outcomes.append(
                [gate.turn(wire(chunks, number), 100.0 + number) for number, chunks in enumerate(turns)]
            )
    for by_columns, singly in zip(*outcomes, strict=True):
        assert by_columns == singly


@settings(deadline=None, max_examples=50)
@given(said=st.lists(FRAMES, min_size=1, max_size=30), portion=st.integers(1, 500))
def test_portions_change_nothing_but_the_number_of_records(said: list[Said], portion: int) -> None:
    chunks = wire({index: said[index::LINKS] for index in range(LINKS)}, 0)  # type: ignore[misc]
    outcomes = []
    for size in (portion, 1 << 30):
        with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            patch.setattr(pipeline, "PORTION_BYTES", size)
            outcomes.append(Gate(Path(folder), only_known=False).turn(chunks, 1.0))
    few, many = outcomes
    assert few["answers"] == many["answers"] and few["opened"] == many["opened"]


def test_an_unescaped_checksum_is_kept_raw_by_columns_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "COLUMNS_PAY_BYTES", 0)
    gate = Gate(tmp_path, only_known=False)
    odd, plain = unescaped_checksum(1), Said(0, 0x0002, 7, b"", False, False).encode(0, 0)
    outcome = gate.turn({0: plain + odd + plain, 1: Said(0, 0x0002, 7, b"", False, False).encode(1, 0)}, 1.0)
    (sessions, lengths, flags, data) = outcome["records"][0]
    assert (
        [flag & FrameFlag.RAW for flag in flags] == [0, FrameFlag.RAW, 0, 0]
        and lengths == [13, 15, 13, 13]
        and odd in data
    )
    assert len(set(sessions)) == 2


@pytest.mark.parametrize("step", ["_note_all", "_judge", "_answer", "_note_fragments", "_receive_rows"])
def test_a_mistake_in_reading_a_batch_loses_no_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Whichever step fails once, and though it was done: link by link all is read again and answered."""
    gate = Gate(tmp_path, only_known=False)
    really = getattr(Pipeline, step)
    failed: list[str] = []

    def fail_once(self: Pipeline, *args: Any, **how: Any) -> Any:
        done = really(self, *args, **how)
        if not failed:
            failed.append(step)
            raise RuntimeError("a mistake of ours")
        return done

    monkeypatch.setattr(pipeline, "COLUMNS_PAY_BYTES", 0)
    monkeypatch.setattr(Pipeline, step, fail_once)
    links = gate.links[:2]
    for number, link in enumerate(links):
        plains = [
            Frame(msg_id, POOL[number + 4].to_bytes(6), serial, bytes(28), None, fragment)
            for serial, (msg_id, fragment) in enumerate([(0x0100, None), (0x0200, None), (0x0801, (2, 1))])
        ]
        link.unread = b"".join(each.encode() for each in plains)
    records, answers = gate.pipeline.read(links, 1.0, 1)
    assert failed and gate.counts.mistakes == 1
    written = [each for each in records if isinstance(each, Frames)]
    assert sum(len(each.sessions) for each in written) == 6
    assert {link.slot for link, data in answers if data.count(b"\x7e") >= 6} == {link.slot for link in links}

"""What decoding and answering cost: with construct one by one, with the scalar path, and as columns.

Three comparisons over the same seeded frames, in batches of several sizes:

- everything: decode every frame in full and build its 0x8001, with construct and with columns;
- a gateway's part: find the frames, read their headers, build the answers; scalar and with columns;
- the steps of the columns by themselves.

What is compared runs in turn within one round, over several different batches, because a processor learns by
heart what it sees again and again. Processor time, medians of the rounds.
"""

import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np

from benchmarks.measures import Measure, Options
from benchmarks.rounds import machine, table
from protocol.columns import FrameBatch, body_hashes, general_replies, locations, scan
from protocol.deframer import PlainFrame, deframe
from protocol.edition import Edition
from protocol.frame import HEADER_2013, HEADER_2019, Frame, checksum, escape, parse, unescape
from protocol.message import decode_body, encode_body
from protocol.messages.location import location

SIZES = (1, 5, 10, 20, 40, 100, 1000)
BATCHES = 8
"""Different batches of a size in a round."""
SEED = 808
START = datetime(2026, 1, 1, tzinfo=UTC)
ITEM_SIZES = {
    "0x01": 4,
    "0x02": 2,
    "0x03": 2,
    "0x04": 2,
    "0x25": 4,
    "0x2A": 2,
    "0x30": 1,
    "0x31": 1,
    "0xE1": 9,
    "0xF0": 24,
}
"""Additional items of the mixed fleet, and their bytes."""

Wires = Sequence[bytes]
Way = Callable[[Any], object]


def uniform(count: int, rng: random.Random) -> list[bytes]:
    """One model of terminal: 0x0200 with the 2013 header and four items, nothing to escape."""
    layout = ["0x01", "0x03", "0x30", "0x31"]
    return [_without_escapes(rng, layout, number) for number in range(count)]


def _without_escapes(rng: random.Random, layout: list[str], number: int) -> bytes:
    while b"\x7d" in (wire := _report(rng, Edition.E2013, layout, number)):
        pass
    return wire


def mixed(count: int, rng: random.Random) -> list[bytes]:
    """A fleet: three editions, twenty layouts of items, a third of the frames with escapes.

    Every tenth frame is a heartbeat, every fortieth a 0x0704 of five reports.
    """
    layouts = [rng.sample(sorted(ITEM_SIZES), rng.randrange(2, 8)) for _ in range(20)]
    return [_member(rng, layouts, number) for number in range(count)]


def _member(rng: random.Random, layouts: list[list[str]], number: int) -> bytes:
    edition, layout, with_escapes = rng.choice(tuple(Edition)), rng.choice(layouts), rng.random() < 1 / 3
    while True:
        if number % 10 == 9:
            wire = _wire(rng, 0x0002, edition, b"")
        elif number % 40 == 20:
            reports = [_fields(rng, layout, number) for _ in range(5)]
            wire = _wire(rng, 0x0704, edition, encode_body(0x0704, edition, {"type": 1, "items": reports}))
        else:
            wire = _report(rng, edition, layout, number)
        if (b"\x7d" in wire) == with_escapes:
            return wire


def _report(rng: random.Random, edition: Edition, layout: list[str], number: int) -> bytes:
    return _wire(rng, 0x0200, edition, encode_body(0x0200, edition, _fields(rng, layout, number)))


def _fields(rng: random.Random, layout: list[str], number: int) -> dict[str, Any]:
    items = {key: rng.randbytes(ITEM_SIZES[key]) for key in layout}
    moment = START + timedelta(seconds=number)
    lat, lon = rng.uniform(38, 43), rng.uniform(118, 125)
    return location(lat, lon, moment, speed_kmh=rng.randrange(1200) / 10, extras=items)


def _wire(rng: random.Random, msg_id: int, edition: Edition, body: bytes) -> bytes:
    is_2019 = edition is Edition.E2019
    raw_id = bytes.fromhex(f"{13_000_000_000 + rng.randrange(10**9):0{20 if is_2019 else 12}d}")
    return Frame(msg_id, raw_id, rng.randrange(1 << 16), body, version=1 if is_2019 else None).encode()


def by_construct(wires: Wires) -> list[bytes]:
    """Decode every frame in full by its declarations, and build the answer by them."""
    answers = []
    for serial, wire in enumerate(wires):
        plain = unescape(wire[1:-1])
        if checksum(plain):
            raise ValueError("bad checksum")
        is_2019 = plain[2] & 0x40
        declaration = HEADER_2019 if is_2019 else HEADER_2013
        header = declaration.parse(plain)
        edition = Edition.E2019 if is_2019 else Edition.E2013
        decode_body(header.msg_id, edition, plain[declaration.sizeof() : -1])
        reply = {"ack_serial": header.serial, "ack_msg_id": header.msg_id, "result": 0}
        body = encode_body(0x8001, edition, reply)
        head = dict(header, msg_id=0x8001, attributes=is_2019 << 8 | len(body), serial=serial)
        answer = declaration.build(head) + body
        answers.append(b"\x7e" + escape(answer + bytes((checksum(answer),))) + b"\x7e")
    return answers


def by_columns(wires: Wires) -> tuple[Any, Any]:
    """The same, all frames at once."""
    frames = scan(wires).frames
    locations(frames)
    rows = np.arange(len(frames))
    return general_replies(frames, rows, rows, 0)


def headers_one_by_one(wires: Wires) -> list[bytes]:
    """A gateway's part, frame by frame."""
    answers = []
    for serial, wire in enumerate(wires):
        found = deframe(wire[1:-1])
        if not isinstance(found, PlainFrame):
            raise ValueError(found.reason)
        frame = parse(found.plain)
        body = frame.serial.to_bytes(2, "big") + frame.msg_id.to_bytes(2, "big") + b"\0"
        answers.append(Frame(0x8001, frame.raw_id, serial, body, frame.version).encode())
    return answers


def headers_as_columns(wires: Wires) -> tuple[Any, Any]:
    """The same, all frames at once."""
    frames = scan(wires).frames
    rows = np.arange(len(frames))
    return general_replies(frames, rows, rows, 0)


def paired(ways: Sequence[Way], wires: Wires, size: int, rounds: int) -> list[list[float]]:
    """µs per frame of several ways to handle the frames in batches of `size`, round by round."""
    batches = [wires[at : at + size] for at in range(0, BATCHES * size, size)]
    return [[_microseconds(way, batches) / size for way in ways] for _ in range(rounds)]


def _microseconds(way: Way, batches: Sequence[Any]) -> float:
    """Processor time for one batch."""
    begin = time.process_time()
    for batch in batches:
        way(batch)
    return (time.process_time() - begin) * 1e6 / len(batches)


def agree(wires: Wires) -> None:
    """Make sure that all ways say the same before they are timed."""
    data, offsets = by_columns(wires)
    answers = [data[begin:end].tobytes() for begin, end in pairwise(offsets)]
    if not answers == by_construct(wires) == headers_one_by_one(wires):
        raise SystemExit("the ways to answer do not agree")


def steps(wires: Wires, size: int, rounds: int) -> list[str]:
    """µs per frame of every step of the columns."""
    batches = [scan(wires[at : at + size]).frames for at in range(0, BATCHES * size, size)]
    rows = np.arange(size)
    works: list[tuple[Way, list[Any]]] = [
        (scan, [wires[at : at + size] for at in range(0, BATCHES * size, size)]),
        (lambda frames: general_replies(frames, rows, rows, 0), batches),
        (lambda packed: FrameBatch.from_plain(*packed), [frames.packed() for frames in batches]),
        (locations, batches),
        (body_hashes, [locations(frames) for frames in batches]),
    ]
    spent = [[_microseconds(way, inputs) / size for way, inputs in works] for _ in range(rounds)]
    return [f"{median(column):.2f}" for column in zip(*spent, strict=True)]


def run(options: Options) -> list[Measure]:
    rounds = options.rounds or (9 if options.long else 5)
    sizes = SIZES if options.long else (1, 10, 100, 1000)
    rng = random.Random(SEED)
    frames = BATCHES * max(SIZES)
    fleets = {"mixed": mixed(frames, rng), "uniform": uniform(frames, rng)}
    print(f"{machine()}; µs of processor time per frame, medians of {rounds} rounds\n")
    ratios = []
    for name, wires in fleets.items():
        agree(wires[:1000])
        print(f"{name}: {sum(map(len, wires)) / len(wires):.0f} bytes a frame\n")
        head = [
            "frames a batch",
            "construct",
            "columns",
            "times",
            "headers one by one",
            "as columns",
            "times",
        ]
        rows = [_row(wires, size, rounds) for size in sizes]
        print(table(head, rows), "\n", flush=True)
        ratios.append(float(rows[-1][3]))
    head = ["steps", "scan", "replies", "from_plain", "locations", "hashes"]
    rows = [
        [f"{name}, {size} a batch", *steps(wires, size, rounds)]
        for name, wires in fleets.items()
        for size in (100, 1000)
    ]
    print(table(head, rows))
    name = "decode and answer a batch of 1,000 against construct one by one: mixed · uniform"
    return [Measure(name, (120, 170), (150, 250), ratios, "times")]


def _row(wires: Wires, size: int, rounds: int) -> list[str]:
    """One size of batch; ratios are medians of the ratios within each round."""
    cells = [str(size)]
    for ways in ((by_construct, by_columns), (headers_one_by_one, headers_as_columns)):
        times = paired(ways, wires, size, rounds)
        cells += [f"{median(column):.2f}" for column in zip(*times, strict=True)]
        cells.append(f"{median(slow / fast for slow, fast in times):.1f}")
    return cells

"""All that arrived in one turn of the event loop, read as one batch.

Most frames are reports of the one terminal that their link is bound to. Those never become Python objects:
they are found, attributed and answered as columns. A link with anything else in its chunk (a registration,
another terminal, an id that does more than report) is received frame by frame, so that what one frame
changes holds for the next.

For a few frames even the first of the numpy calls is more expensive than reading them one by one; that path
gives the same result, which a test checks.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from operator import attrgetter
from typing import Final

import numpy as np
import numpy.typing as npt
import structlog

from gateway.allowance import BY_HAND_BYTES, FAULT_BYTES
from gateway.commits import Answers
from gateway.links import FLAG, Link, LinkTable
from gateway.reception import BY_HAND, BY_HAND_IDS, DONE, FAILED, IS_DECODED, RESULTS, Reception
from gateway.sessions import Sessions
from gateway.undecodable import LEAST_LOCATION, LOCATION, WHOLE_BITS, is_report, is_short
from protocol.columns import FrameBatch, WireBatch, general_replies, scan
from protocol.columns.scan import Rejection
from protocol.deframer import Deframer, PlainFrame, RejectedBytes
from protocol.errors import Garbage
from protocol.frame import MAX_FRAME, parse
from store.records import CloseReason, Event, Frames, Rejected

logger = structlog.get_logger()

COLUMNS_PAY_BYTES: Final = 700
"""From so many bytes on, some ten reports, columns are faster: they cost about 160 µs whatever they
hold, and a single frame about 15 µs.
"""

PORTION_BYTES: Final = 256 * 1024
"""More than this is read in several batches: they stay in the processor's cache, and fit the log's
segments.
"""

TURN_BYTES: Final = 2 * 1024 * 1024
"""So much of all links is read in one turn, 32,000 reports, which take some 50 ms; who has more than others
waits for the next. Nobody else is heard during a turn.
"""

TURN_BY_HAND: Final = 2_000
"""… and so many frames of it one by one, each 25 µs: a thousand links have 500,000 of the smallest ones in
their shares of one turn.
"""

DECODED_COSTS: Final = 10
"""A frame whose body is decoded counts as so many: 0x0100 and 0x0102 take some 240 µs."""

GARBAGE_BUDGET: Final = 64 * 1024
"""A link that sends more than this without a single valid frame in between speaks another protocol: it
is closed.
"""

GARBAGE_PATIENCE: Final = 4 * 1024
"""A link that sends more than this without one is read seldom. Noise between frames is less."""

PIECE_BYTES: Final = 64
"""A piece counts as so much more towards the budget: empty ones are no cheaper."""

MAX_PIECES: Final = 8
"""Of a link in one turn, so many pieces that are no frame are kept by themselves, and the rest as one: nobody
reads hundreds of them, and each would be a row.
"""


class Counts:
    """What passed, for metrics."""

    def __init__(self) -> None:
        self.frames = 0
        self.frames_by_hand = 0
        self.mistakes = 0
        """Batches that made us fail."""
        self.answers = 0
        self.rejected: dict[str, int] = {}


class Pipeline:
    """Reads chunks, and gives what to write to the log and what to answer."""

    def __init__(self, table: LinkTable, sessions: Sessions, reception: Reception, counts: Counts) -> None:
        self._table = table
        self._sessions = sessions
        self._reception = reception
        self._counts = counts
        self.garbled: list[Link] = []
        """Links of this turn that send little but garbage."""
        self.left: list[Link] = []
        """Links of this turn that were not read, because it would have taken too long."""
        self._by_hand_left = 0
        """Frames that may still be read one by one in this turn."""

    def read(self, links: list[Link], now: float, now_us: int) -> tuple[list[Frames | Event], Answers]:
        """Read what `links` have gathered. `now` is the loop's clock, `now_us` the wall clock."""
        records: list[Frames | Event] = []
        answers: Answers = []
        self._reception.begin_turn(now, now_us)
        self._by_hand_left = TURN_BY_HAND
        for portion, size in _portions(self._admitted(links)):
            read = self._read_columns if size >= COLUMNS_PAY_BYTES else self._read_singly
            unread = [link.unread for link in portion]
            try:
                frames, rejected, replies = read(portion, now, now_us)
            except Exception:  # a mistake of ours must not cost those whose data it did not come from
                logger.exception("batch not read", links=len(portion))
                for link, data in zip(portion, unread, strict=True):
                    link.unread = data
                frames, rejected, replies = self._read_apart(portion, now, now_us)
            if len(frames.sessions):
                records.append(frames)
                if self._sessions.shared:
                    self._sessions.note(frames.sessions, now_us)
            records += rejected
            answers += replies
        return records, answers

    def _admitted(self, links: list[Link]) -> list[Link]:
        """Give the links that have a place in this turn, the most urgent first; where nobody has much, and
        nobody was left in the last turn, as they come.
        """
        sizes = [len(link.unread) for link in links]
        is_even = max(sizes, default=0) <= COLUMNS_PAY_BYTES and not any(link.waited for link in links[:1])
        if sum(sizes) <= (TURN_BYTES if is_even else PORTION_BYTES):
            return links
        links = sorted(links, key=_urgency, reverse=True)
        ends = accumulate(len(link.unread) for link in links)
        many = bisect_right(list(ends), TURN_BYTES)
        self.left += links[many:]
        return links[:many]

    def _read_apart(self, links: list[Link], now: float, now_us: int) -> tuple[Frames, list[Event], Answers]:
        """Read link by link, and give up those that cannot be read."""
        self._counts.mistakes += 1
        all_frames, all_rejected, all_answers = [_frames((), (), ())], list[Event](), Answers()
        for link in links:
            if self._by_hand_left <= 0:
                self.left.append(link)
                continue
            unread = link.unread
            try:
                frames, rejected, answers = self._read_singly([link], now, now_us)
            except Exception:
                logger.exception("link not read", peer=link.peer, data=unread[:MAX_FRAME].hex())
                link.unread = b""
                self._sessions.forsaken.append((link, CloseReason.ERROR))
                continue
            all_frames.append(frames)
            all_rejected += rejected
            all_answers += answers
        columns = zip(*((f.sessions, f.lengths, f.flags, f.data) for f in all_frames), strict=True)
        return Frames(*(np.concatenate(column) for column in columns)), all_rejected, all_answers

    def _read_singly(self, links: list[Link], now: float, now_us: int) -> tuple[Frames, list[Event], Answers]:
        """Read frame by frame."""
        kept: list[tuple[int, int, bytes]] = []
        rejected: list[Event] = []
        good: list[tuple[Link, list[PlainFrame]]] = []
        for link in links:
            deframer = Deframer()
            self._table.accounts.owed[link.slot] += len(link.unread)
            found = deframer.feed(link.unread)
            link.unread = deframer.tail
            frames = [piece for piece in found if isinstance(piece, PlainFrame)]
            self._by_hand_left -= len(frames)
            special = sum(int.from_bytes(frame.plain[:2]) in BY_HAND_IDS for frame in frames)
            self._table.accounts.owed[link.slot] += special * BY_HAND_BYTES
            self._note(link, len(frames), now)
            if len(frames) < len(found):
                bad = (piece for piece in found if isinstance(piece, RejectedBytes))
                faults = [Rejection(0, piece.reason, piece.raw) for piece in bad]
                rejected += self._reject(link, faults, now)
            if frames:
                good.append((link, frames))
                self._judge_singly(link, frames, now)
        answers = [(link, self._receive(link, frames, kept, now_us)) for link, frames in good]
        self._counts.frames += len(kept)
        numbers, flags, contents = zip(*kept, strict=True) if kept else ((), (), ())
        return _frames(numbers, flags, contents), rejected, answers

    def _read_columns(
        self, links: list[Link], now: float, now_us: int
    ) -> tuple[Frames, list[Event], Answers]:
        """Read all at once what is frequent and simple, and the rest frame by frame."""
        table = self._table
        chunks = [link.unread for link in links]
        wire = scan(chunks, MAX_PIECES)
        batch, source = wire.frames, wire.source
        slots = np.fromiter([link.slot for link in links], np.intp, len(links))
        slot = slots[source]
        numbers, results = table.session[slot], RESULTS[batch.msg_id]
        is_simple = (table.key_low[slot] == batch.key_low) & (table.key_high[slot] == batch.key_high)
        is_simple &= (numbers != 0) & (results != BY_HAND) & ~wire.raw
        table.bound_heard[slot[is_simple]] = now
        flags = table.flags[slot]
        if self._reception.only_known:
            results = np.where(table.refused[slot] & (results == DONE), FAILED, results)
        rows = ~is_simple
        if rows.any():
            self._recognise(links, wire, numbers, flags, results, is_simple, now)
            by_hand = np.zeros(len(links), np.bool_)
            by_hand[source[~is_simple]] = True
            rows = by_hand[source]
        fragments = batch.is_fragment & (results == DONE) & ~rows
        handled = rows | fragments
        if handled.any():
            costs = _costs(source[handled], batch.msg_id[handled], len(links))
            if sum(costs) > self._by_hand_left:
                return self._read_columns(self._handled(links, costs), now, now_us)
            self._by_hand_left -= sum(costs)
        for link, tail in zip(links, wire.tails, strict=True):
            link.unread = tail
        sizes = np.fromiter(map(len, chunks), np.intp, len(links))
        table.accounts.owed[slots] += sizes
        self._note_all(links, slots, sizes, wire, now)
        rejected = self._reject_all(links, wire, now) if wire.rejected else []
        self._judge(links, slots, wire, now)
        self._counts.frames += len(batch)
        if not rows.any():
            answers = self._answer(links, slots, batch, source, results, np.arange(len(batch)))
            answers += self._note_fragments(links, batch, source, fragments)
            data, lengths = batch.packed()
            return Frames(numbers, lengths.astype("<u2"), flags, data), rejected, answers
        np.add.at(table.accounts.owed, slot[rows], BY_HAND_BYTES)
        answers = self._answer(links, slots, batch, source, results, (~rows).nonzero()[0])
        answers += self._note_fragments(links, batch, source, fragments)
        kept = self._receive_rows(links, wire, rows.nonzero()[0], now_us, answers)
        return _merged(batch, numbers, flags, kept), rejected, answers

    def _handled(self, links: list[Link], costs: list[int]) -> list[Link]:
        """Give the links that can still be read in this turn, the most urgent first."""
        handled, by_hand_left = [], self._by_hand_left
        for link, cost in sorted(zip(links, costs, strict=True), key=lambda each: -each[0].urgency):
            if cost <= by_hand_left:
                by_hand_left -= cost
                handled.append(link)
            else:
                self.left.append(link)
        return handled

    def _recognise(
        self,
        links: list[Link],
        wire: WireBatch,
        numbers: npt.NDArray[np.uint64],
        flags: npt.NDArray[np.uint16],
        results: npt.NDArray[np.uint8],
        is_simple: npt.NDArray[np.bool_],
        now: float,
    ) -> None:
        """Attribute reports of terminals that share their link with the one that it is bound to."""
        batch = wire.frames
        own = RESULTS[batch.msg_id]
        rows = (~is_simple & (own != BY_HAND) & ~wire.raw).nonzero()[0]
        keys = zip(batch.key_high[rows].tolist(), batch.key_low[rows].tolist(), strict=True)
        for row, of, (high, low) in zip(rows.tolist(), wire.source[rows].tolist(), keys, strict=True):
            session = links[of].sessions.get(high << 64 | low)
            if session is not None:
                session.heard = now
                numbers[row] = session.number
                flags[row], is_refused = session.verdict
                results[row] = FAILED if is_refused and own[row] == DONE else own[row]
                is_simple[row] = True

    def _answer(
        self,
        links: list[Link],
        slots: npt.NDArray[np.intp],
        batch: FrameBatch,
        source: npt.NDArray[np.int64],
        results: npt.NDArray[np.uint8],
        rows: npt.NDArray[np.intp],
    ) -> Answers:
        """Answer `rows` with 0x8001, and join the answers by link."""
        if not len(rows):
            return []
        of_link = source[rows]
        first = np.concatenate(([0], (of_link[1:] != of_link[:-1]).nonzero()[0] + 1, [len(rows)]))
        of_run, counts = of_link[first[:-1]], first[1:] - first[:-1]
        serial, slot = self._table.serial, slots[of_run]
        serials = serial[slot]
        serial[slot] += counts.astype(np.uint16)
        if len(counts) < len(rows):
            rank = np.arange(len(rows)) - first[:-1].repeat(counts)
            serials = serials.repeat(counts) + rank.astype(np.uint16)
        data, offsets = general_replies(batch, rows, serials, results[rows])
        wire, ends = data.tobytes(), offsets[first].tolist()
        self._counts.answers += len(rows)
        return [
            (links[index], wire[begin:end])
            for index, begin, end in zip(of_run.tolist(), ends, ends[1:], strict=False)
        ]

    def _note_fragments(
        self,
        links: list[Link],
        batch: FrameBatch,
        source: npt.NDArray[np.int64],
        chosen: npt.NDArray[np.bool_],
    ) -> Answers:
        """Tell the reception which fragments came, and give what they are answered beside 0x8001."""
        answers: Answers = []
        for row in chosen.nonzero()[0].tolist():
            link = links[source[row]]
            frame = parse(batch.plain(row))
            answer = self._reception.fragment(link.sessions[int.from_bytes(frame.raw_id)], frame)
            if answer:
                answers.append((link, answer))
        return answers

    def _receive_rows(
        self, links: list[Link], wire: WireBatch, rows: npt.NDArray[np.intp], now_us: int, answers: Answers
    ) -> dict[int, tuple[int, int, bytes]]:
        """Receive some rows frame by frame, in order; by row session, flags and content, where that is
        kept.
        """
        kept: dict[int, tuple[int, int, bytes]] = {}
        replies: dict[Link, list[bytes]] = {}
        for row in rows.tolist():
            link = links[wire.source[row]]
            found = PlainFrame(wire.frames.plain(row), not wire.raw[row])
            receipt = self._reception.receive(link, found, now_us)
            if receipt.session:
                kept[row] = receipt.session, receipt.flags, found.plain if found.is_canonical else found.wire
            else:
                kept[row] = 0, 0, b""
            replies.setdefault(link, []).append(receipt.answer)
        self._counts.frames_by_hand += len(rows)
        self._counts.answers += sum(map(bool, (reply for parts in replies.values() for reply in parts)))
        answers += [(link, b"".join(parts)) for link, parts in replies.items()]
        return kept

    def _receive(
        self, link: Link, found: list[PlainFrame], kept: list[tuple[int, int, bytes]], now_us: int
    ) -> bytes:
        """Receive the frames of one link and give their answers."""
        replies = []
        for frame in found:
            receipt = self._reception.receive(link, frame, now_us)
            if receipt.session:
                kept.append(
                    (receipt.session, receipt.flags, frame.plain if frame.is_canonical else frame.wire)
                )
            if receipt.answer:
                replies.append(receipt.answer)
        self._counts.frames_by_hand += len(found)
        self._counts.answers += len(replies)
        return b"".join(replies)

    def _note(self, link: Link, frames: int, now: float) -> None:
        """Remember when a link was heard, and since when a frame is unfinished."""
        table, slot = self._table, link.slot
        if frames:
            table.heard[slot] = now
        if len(link.unread) <= len(FLAG):
            table.half_since[slot] = np.inf
        elif frames or table.half_since[slot] == np.inf:
            table.half_since[slot] = now

    def _note_all(
        self,
        links: list[Link],
        slots: npt.NDArray[np.intp],
        sizes: npt.NDArray[np.intp],
        wire: WireBatch,
        now: float,
    ) -> None:
        """Do as `_note` for many links."""
        table = self._table
        table.heard[slots[wire.source]] = now
        if wire.tails.count(FLAG) == len(links):
            table.half_since[slots] = np.inf
            return
        tails = np.fromiter(map(len, wire.tails), np.intp, len(links))
        for index in (tails > MAX_FRAME).nonzero()[0].tolist():
            self._distrust(links[index], int(sizes[index] - tails[index]), now)  # it never ends a frame
        is_half = tails > len(FLAG)
        table.half_since[slots[~is_half]] = np.inf
        begins = np.bincount(wire.source, minlength=len(links)) > 0
        begins |= table.half_since[slots] == np.inf
        table.half_since[slots[is_half & begins]] = now

    def _reject_all(self, links: list[Link], wire: WireBatch, now: float) -> list[Event]:
        """Do as `_reject` for many links."""
        of_link: dict[int, list[Rejection]] = {}
        for fault in wire.rejected:
            of_link.setdefault(fault.source, []).append(fault)
        events = [self._reject(links[source], faults, now) for source, faults in sorted(of_link.items())]
        return [event for of_one in events for event in of_one]

    def _reject(self, link: Link, faults: list[Rejection], now: float) -> list[Event]:
        """Count and keep pieces that are no frame."""
        rejected = self._counts.rejected
        for fault in faults:
            rejected[fault.reason] = rejected.get(fault.reason, 0) + fault.pieces
        self._distrust(link, sum(len(fault.raw) + PIECE_BYTES * fault.pieces for fault in faults), now)
        kept = faults[:MAX_PIECES]
        if len(faults) > MAX_PIECES:
            rest = faults[MAX_PIECES - 1 :]
            raw = FLAG.join(fault.raw for fault in rest)
            kept[MAX_PIECES - 1] = Rejection(kept[0].source, Garbage.reason, raw, len(rest))
        self._table.accounts.owed[link.slot] += FAULT_BYTES * len(kept)
        session = next(iter(link.sessions.values()), None)
        number = session.number if session else 0
        return [Rejected(number, fault.reason, fault.raw, link.peer) for fault in kept]

    def _judge(self, links: list[Link], slots: npt.NDArray[np.intp], wire: WireBatch, now: float) -> None:
        """Give up links whose reports cannot be decoded, see `gateway.undecodable`."""
        frames, source = wire.frames, wire.source
        short = short_reports(frames)
        if short.any() or self._table.undecodable.is_owed(now):
            reports = frames.msg_id == LOCATION
            many, of = (np.bincount(source[which], minlength=len(links)) for which in (short, reports))
            is_enough = self._table.undecodable.note(slots, many, of, now)
            self._give_up([links[index] for index in is_enough.nonzero()[0].tolist()])

    def _judge_singly(self, link: Link, frames: list[PlainFrame], now: float) -> None:
        """Do as `_judge` for one link."""
        undecodable = self._table.undecodable
        short = sum(is_short(frame.plain) for frame in frames)
        if short or undecodable.is_owed(now):
            reports = sum(is_report(frame.plain) for frame in frames)
            is_enough = undecodable.note(np.array([link.slot]), np.array([short]), np.array([reports]), now)
            self._give_up([link] * int(is_enough[0]))

    def _give_up(self, links: list[Link]) -> None:
        self._sessions.forsaken += [(link, CloseReason.GARBAGE) for link in links]

    def _distrust(self, link: Link, size: int, now: float) -> None:
        """Count garbage, and have a link read seldom, or no more, that sends nothing else."""
        if self._table.heard[link.slot] > link.garbage_since:
            link.garbage_bytes, link.garbage_since = 0, now
        link.garbage_bytes += size
        if link.garbage_bytes > GARBAGE_BUDGET:
            self._sessions.forsaken.append((link, CloseReason.GARBAGE))
        if link.garbage_bytes > GARBAGE_PATIENCE:
            self.garbled.append(link)


def _costs(source: npt.NDArray[np.int64], msg_ids: npt.NDArray[np.uint16], links: int) -> list[int]:
    """Give what frames by hand cost for each link; none costs more than half of a turn, else it would never
    have one.
    """
    weights = np.where(IS_DECODED[msg_ids], DECODED_COSTS, 1)
    costs = np.bincount(source, weights, links).astype(np.int64)
    return np.minimum(costs, TURN_BY_HAND // 2).tolist()  # type: ignore[no-any-return]


def short_reports(frames: FrameBatch) -> npt.NDArray[np.bool_]:
    """Do as `is_short` for many frames."""
    short: npt.NDArray[np.bool_] = (frames.msg_id == LOCATION) & (
        (frames.attributes & WHOLE_BITS) < LEAST_LOCATION
    )
    return short


_urgency: Final = attrgetter("urgency")


def _portions(links: list[Link]) -> Iterator[tuple[list[Link], int]]:
    """Divide links into portions of about `PORTION_BYTES`, with the size of each."""
    sizes = [len(link.unread) for link in links]
    if sum(sizes) <= PORTION_BYTES:
        yield links, sum(sizes)
        return
    begin = size = 0
    for end, more in enumerate(sizes):
        if size and size + more > PORTION_BYTES:
            yield links[begin:end], size
            begin, size = end, 0
        size += more
    yield links[begin:], size


def _frames(numbers: Sequence[int], flags: Sequence[int], contents: Sequence[bytes]) -> Frames:
    """Make the log's columns from single frames."""
    return Frames(
        np.array(numbers, np.uint64),
        np.array([len(content) for content in contents], np.uint16),
        np.array(flags, np.uint16),
        np.frombuffer(b"".join(contents), np.uint8),
    )


def _merged(
    batch: FrameBatch,
    numbers: npt.NDArray[np.uint64],
    flags: npt.NDArray[np.uint16],
    by_hand: dict[int, tuple[int, int, bytes]],
) -> Frames:
    """Make the log's columns from a batch and what was received frame by frame, in order of arrival."""
    data, lengths = batch.packed()
    for row, (number, flag, _) in by_hand.items():
        numbers[row], flags[row] = number, flag
    if all(len(content) == batch.length[row] for row, (_, _, content) in by_hand.items()):
        return Frames(numbers, lengths.astype(np.uint16), flags, data)
    contents = [by_hand[row][2] if row in by_hand else batch.plain(row) for row in range(len(batch))]
    kept = numbers != 0
    return _frames(numbers[kept].tolist(), flags[kept].tolist(), [content for content in contents if content])

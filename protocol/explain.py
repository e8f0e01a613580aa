"""Every byte of what was received: where it stands, what it is, what it means, and what is wrong with it.

`explain` takes any bytes: one frame or several, with flags or without, escaped or plain, cut off or damaged,
of JT/T 808 or of JT/T 809. It gives **units** (a frame, or bytes that are none) with **parts**
(`protocol.parts`) whose fields cover each byte of the input exactly once, and with **findings**: what exactly
is against the standard, or was accepted by rule. Values are those that decoding gives, because the decoder
itself is watched (`protocol.trace`).

A message that came in several frames, or encrypted, has bytes that stand nowhere in the input: it is
explained once more as a `Whole`, whose offsets are those of its body.
"""

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from construct import Construct

from protocol.body import read
from protocol.ciphers import decipher, no_keys
from protocol.edition import Edition, edition_of
from protocol.errors import BodyError, FrameError
from protocol.frame import (
    BIT_2019,
    CIPHER_BITS,
    CIPHER_SHIFT,
    ESCAPE,
    FRAGMENT,
    FRAGMENT_BIT,
    HEADER_2013,
    HEADER_2019,
    LENGTH_BITS,
    Frame,
    checksum,
    identity_of,
    unescape,
    verify,
)
from protocol.jsonl import to_json
from protocol.jt809 import explain as jt809
from protocol.jt809.dialect import DIALECTS, Dialect, dialect_named
from protocol.jt809.framing import START
from protocol.meaning import Bit, clause_of, quantity
from protocol.message import LAYOUT, Undecodable
from protocol.messages import MESSAGES, decode_frame
from protocol.parts import Content, Finding, Kind, Label, Part, Parts, Severity, Unit
from protocol.profiles import STANDARD, Profile
from protocol.reassembly import first_missing
from protocol.trace import Reading, Trace, following

FLAG: Final = b"\x7e"
HEADER_SIZES: Final = {False: HEADER_2013.sizeof(), True: HEADER_2019.sizeof()}
"""By whether it is the one of 2019."""
HEADER_CLAUSE: Final = "§4.4.3"
FLAG_CLAUSE: Final = "JT/T 808-2013 §4.4.2"
CHECK_CLAUSE: Final = "JT/T 808-2013 §4.4.4"
MAX_EXACT: Final = 2**53 - 1
"""The largest integer that every reader of JSON takes as it is."""
MAX_FLAGS: Final = 256
"""Flags that are looked at: a hundred frames are more than anybody reads, and a unit costs a millisecond, be
it a single byte."""
_BETWEEN: Final = re.compile(r"[\s,:\-]|0x", re.IGNORECASE)
"""What people paste between digits."""


class NotHex(ValueError):
    """The text is not made of hex digits: it has `letter`, or with "" half a byte too many."""

    def __init__(self, digits: str) -> None:
        wrong = re.search("[^0-9A-Fa-f]", digits)
        self.letter = wrong[0] if wrong else ""
        self.digits = len(digits)
        if wrong:
            super().__init__(f"{self.letter!r} is no hex digit")
        else:
            super().__init__(f"{self.digits} hex digits are half a byte too many")


def bytes_of(text: str) -> bytes:
    """Read hex as people paste it: with spaces, line ends, commas, colons or 0x between.

    Raises:
        NotHex: there is something else, or half a byte.
    """
    digits = _BETWEEN.sub("", text)
    try:
        return bytes.fromhex(digits)
    except ValueError:
        raise NotHex(digits) from None


def pieces_of(text: str) -> list[bytes]:
    """Read pasted hex: one piece, unless every line is a whole frame without its flags.

    Raises:
        NotHex: see `bytes_of`.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1:
        with suppress(NotHex):
            pieces = [bytes_of(line) for line in lines]
            if all(_is_frame(piece) or _is_escaped_frame(piece) for piece in pieces):
                return pieces
    return [bytes_of(text)]


@dataclass(slots=True)
class Whole:
    """A message whose bytes stand nowhere in the input as they are: put together, or decrypted."""

    reason: str
    """"reassembled" or "deciphered"."""
    data: bytes
    """Its body, to which the offsets of the parts belong."""
    unit: Unit


@dataclass(slots=True)
class Explanation:
    """What some bytes are."""

    data: bytes
    units: list[Unit]
    wholes: list[Whole]

    @property
    def findings(self) -> list[Finding]:
        """Everything that is wrong or remarkable, in the order of the units."""
        units = [*self.units, *(whole.unit for whole in self.wholes)]
        return [finding for unit in units for finding in unit.findings]

    @property
    def is_valid(self) -> bool:
        """Nothing is against the standard."""
        return bool(self.units) and all(each.severity is not Severity.ERROR for each in self.findings)


def explain(
    *wires: bytes, edition: Edition | Dialect | None = None, profile: Profile = STANDARD, keys: Any = no_keys
) -> Explanation:
    """Explain received bytes: one piece, or the frames of a fragmented message each on its own.

    `edition` is what the terminal registered as, or the dialect of a platform of JT/T 809; `profile` is the
    terminal's, `keys` are those of its cipher, as for `decode_frame`. Offsets run over all pieces. Never
    raises for what the bytes are.
    """
    reader = _Reader(edition if isinstance(edition, Edition) else None, profile, keys)
    at, flags = 0, MAX_FLAGS
    for wire in wires:
        is_809 = jt809.is_809(wire)
        there, flags = _within(wire, START if is_809 else FLAG, flags)
        if is_809:
            reader.units += jt809.units(there, at, _dialect(edition))
        elif there:
            reader.piece(there, at)
        if len(there) < len(wire):
            reader.units.append(_too_much(wire[len(there) :], at + len(there)))
        at += len(wire)
    reader.reassemble()
    return Explanation(b"".join(wires), reader.units, reader.wholes)


def edition_named(name: str) -> Edition | Dialect:
    """Give an edition of JT/T 808, or a dialect of JT/T 809, by its name.

    Raises:
        ValueError: there is neither.
    """
    if name in tuple(Edition):
        return Edition(name)
    if name in DIALECTS:
        return dialect_named(name)
    known = f"JT/T 808 has {', '.join(Edition)}, JT/T 809 {', '.join(DIALECTS)}"
    raise ValueError(f"there is no edition {name!r}: {known}")


def _dialect(edition: Edition | Dialect | None) -> Dialect | None:
    return dialect_named(edition.value) if edition and edition.value in DIALECTS else None


def _within(wire: bytes, flag: bytes, flags: int) -> tuple[bytes, int]:
    """Give what stands before one flag too many, and how many more there may be. A piece counts as one."""
    if flags <= 0:
        return b"", flags
    pieces = wire.split(flag, flags + 1)
    if len(pieces) > flags + 1:
        return wire[: len(wire) - len(pieces[-1]) - len(flag)], 0
    return wire, flags - max(1, len(pieces) - 1)


class _Reader:
    """Collects units of JT/T 808."""

    def __init__(self, edition: Edition | None, profile: Profile, keys: Any) -> None:
        self.edition = edition
        self.known = {"profile": profile, "keys": keys}
        self.units: list[Unit] = []
        self.wholes: list[Whole] = []

    def piece(self, wire: bytes, at: int) -> None:
        """Find the frames of a piece of input that stands at `at`."""
        if FLAG not in (wire[:1], wire[-1:]) and _is_frame(wire):
            unit = self._frame(Content(wire, list(range(at, at + len(wire) + 1)), []), is_cut=False)
            zh, en = (
                "没有标识位 0x7e：按去转义后的内容解释",
                "without flags: read as a frame without its escapes",
            )
            unit.findings.insert(0, Finding("no_flags", zh, en, unit.start, unit.end, Severity.NOTICE))
            return
        segments = _segments(wire)
        count = sum(bool(content) for _, content in segments)
        free = {start - 1 for start, _ in segments[1:]}  # flags that no frame has taken yet
        for start, content in segments:
            if content:
                self._segment(content, at, start, free, is_only=count == 1)
        for flag in sorted(free):
            idle = Unit("", at + flag, at + flag + 1)
            idle.parts.append(_flag(at + flag))
            self.units.append(idle)
        self.units.sort(key=lambda unit: unit.start)

    def _segment(self, content: bytes, at: int, start: int, free: set[int], *, is_only: bool) -> None:
        """Explain what stands between two flags, or before the first one, or behind the last."""
        opening, closing = start - 1, start + len(content)
        has_opening, has_closing = opening in free, closing in free
        shared = start > 0 and not has_opening  # one flag between two frames is allowed
        unescaped = _unescaped(content, at + start)
        if start == 0 and not is_only and not _is_frame(unescaped.plain):
            self.units.append(_garbage(content, at))
            return
        unit = self._frame(unescaped, is_cut=not has_closing)
        if has_opening:
            free.discard(opening)
            unit.parts.insert(0, _flag(at + opening))
            unit.start = at + opening
        if has_closing:
            free.discard(closing)
            unit.parts.append(_flag(at + closing))
            unit.end = at + closing + 1
        missing = [
            ("no_opening_flag", "缺少开始标识位 0x7e", "the opening flag 0x7e is missing", unit.start)
        ] * (not has_opening and not shared)
        missing += [
            ("no_closing_flag", "缺少结束标识位 0x7e：帧不完整", "the closing flag 0x7e is missing", unit.end)
        ] * (not has_closing)
        unit.findings += [Finding(code, zh, en, place, place) for code, zh, en, place in missing]

    def _frame(self, content: Content, *, is_cut: bool) -> Unit:
        unit = _FrameReader(content, self.edition, self.known).unit(is_cut=is_cut)
        self.units.append(unit)
        return unit

    def reassemble(self) -> None:
        """Explain messages whose fragments are all here, and those that were encrypted, as a whole."""
        fragments: dict[tuple[int, str], dict[int, Unit]] = {}
        for unit in self.units:
            if unit.frame is not None and unit.frame.fragment is not None and unit.frame.fragment[0] > 1:
                key = unit.frame.msg_id, unit.frame.identity
                fragments.setdefault(key, {})[unit.frame.fragment[1]] = unit
            elif unit.frame is not None and unit.frame.cipher:
                self._whole("deciphered", unit, unit.frame)
        for parts in fragments.values():
            self._put_together(parts)

    def _put_together(self, parts: dict[int, Unit]) -> None:
        first = next(iter(parts.values()))
        assert first.frame is not None and first.frame.fragment is not None
        total = first.frame.fragment[0]
        listed = first_missing(parts, total)
        if listed:
            zh, en = f"缺少第 {listed} 包，共 {total} 包", f"fragments {listed} of {total} are missing"
            first.findings.append(Finding("fragments_missing", zh, en, first.start, first.end))
            return
        frames = [self._deciphered(parts[index].frame) for index in range(1, total + 1)]
        body = b"".join(frame.body for frame in frames)
        self._whole("reassembled", parts[1], replace(frames[0], body=body, fragment=None))

    def _deciphered(self, frame: Frame | None) -> Frame:
        assert frame is not None
        try:
            return decipher(frame, self.known["profile"].ciphers, self.known["keys"])
        except BodyError:
            return frame

    def _whole(self, reason: str, unit: Unit, frame: Frame) -> None:
        edition = edition_of(frame, self.edition)
        with following(Trace()) as trace:
            fields = decode_frame(frame, edition, **self.known)
        if not trace.readings:
            return
        data = trace.readings[0].data
        found = Unit("808", 0, len(data), edition=edition.value, msg_id=frame.msg_id, zh=unit.zh, en=unit.en)
        found.direction, found.clause, found.terminal = unit.direction, unit.clause, unit.terminal
        found.serial = frame.serial
        parts = Parts(edition, self.known["profile"])
        add_body(parts, replace(frame, body=data, attributes=0), fields, trace.readings, 0)
        found.parts, found.findings = parts.found, parts.findings
        self.wholes.append(Whole(reason, data, found))


def _segments(wire: bytes) -> list[tuple[int, bytes]]:
    """Cut at flags. A flag that only stands inside of a frame because it was not escaped does not cut."""
    found: list[tuple[int, bytes]] = []
    start = 0
    for content in wire.split(FLAG):
        found.append((start, content))
        start += len(content) + 1
    for number in range(len(found) - 1):
        (start, content), (_, following_) = found[number], found[number + 1]
        joined = content + FLAG + following_
        are_frames = _is_escaped_frame(content) or _is_escaped_frame(following_)
        if content and following_ and not are_frames and _is_escaped_frame(joined):
            return [*found[:number], (start, joined), *found[number + 2 :]]
    return found


def _is_frame(plain: bytes) -> bool:
    try:
        verify(plain)
    except FrameError:
        return False
    return True


def _is_escaped_frame(content: bytes) -> bool:
    try:
        return _is_frame(unescape(content))
    except FrameError:
        return False


def _garbage(content: bytes, at: int) -> Unit:
    zh, en = "第一个标识位之前的字节，不属于任何帧", "bytes before the first flag belong to no frame"
    end = at + len(content)
    part = Part(Kind.FIELD, at, end, "garbage", "无效数据", "garbage", content, section="garbage")
    part.finding = Finding("garbage", zh, en, at, end)
    return Unit("", at, end, [part], [part.finding])


def _too_much(content: bytes, at: int) -> Unit:
    zh, en = f"只解释前 {MAX_FLAGS} 个标识位", f"only the first {MAX_FLAGS} flags are looked at"
    part = Part(Kind.FIELD, at, at + len(content), "garbage", "未解释", "not explained", content)
    part.section, part.finding = "garbage", Finding("too_many_frames", zh, en, at, at + len(content))
    return Unit("", part.start, part.end, [part], [part.finding])


def _flag(at: int) -> Part:
    part = Part(Kind.FIELD, at, at + 1, "flag", "标识位", "flag", FLAG.hex(), section="flag")
    part.clause = FLAG_CLAUSE
    return part


def _unescaped(content: bytes, at: int) -> Content:
    """Undo escapes, note where each byte stood, and what cannot be undone."""
    found = Content(b"", [], [])
    plain, index = bytearray(), 0
    while index < len(content):
        found.marks.append(at + index)
        byte, behind = content[index], content[index + 1 : index + 2]
        if byte == ESCAPE and behind in (b"\x01", b"\x02"):
            plain.append(ESCAPE if behind == b"\x01" else FLAG[0])
            index += 2
            continue
        if byte == ESCAPE:
            found.findings.append(_bad_escape(at + index, behind))
        elif byte == FLAG[0]:
            zh, en = "内容中的 0x7e 未转义为 7d 02", "0x7e inside of the frame is not escaped as 7d 02"
            found.findings.append(Finding("bare_flag", zh, en, at + index, at + index + 1))
        plain.append(byte)
        index += 1
    found.marks.append(at + len(content))
    found.plain = bytes(plain)
    return found


def _bad_escape(at: int, behind: bytes) -> Finding:
    if not behind:
        zh, en = "校验码 0x7d 未转义，按规则接受", "the checksum 0x7d is not escaped: accepted by rule"
        return Finding("unescaped_checksum", zh, en, at, at + 1, Severity.NOTICE)
    return Finding(
        "bad_escape",
        f"偏移 {at} 处 0x7d 之后是 0x{behind.hex()}，既不是 01 也不是 02",
        f"0x7d at offset {at} is followed by 0x{behind.hex()}, neither 01 nor 02; it is read as it is",
        at,
        at + 2,
    )


class _FrameReader:
    """Explains one plain frame, whatever is wrong with it. All offsets are plain ones until the end."""

    def __init__(self, content: Content, edition: Edition | None, known: dict[str, Any]) -> None:
        self.content = content
        self.plain = content.plain
        self.known_edition = edition
        self.known = known
        self.attributes = int.from_bytes(self.plain[2:4])
        self.is_2019 = self._is_2019()
        fragment = FRAGMENT.sizeof() if self.attributes & FRAGMENT_BIT else 0
        self.body_start = HEADER_SIZES[self.is_2019] + fragment
        self.said = self.attributes & LENGTH_BITS
        self.parts = Parts(Edition.E2019 if self.is_2019 else Edition.E2013, known["profile"])

    def _is_2019(self) -> bool:
        """Tell which header it is, as `protocol.frame.verify` does."""
        if not self.attributes & BIT_2019:
            return False
        fragment = FRAGMENT.sizeof() if self.attributes & FRAGMENT_BIT else 0
        rest = fragment + (self.attributes & LENGTH_BITS) + 1
        fits_2019: bool = HEADER_SIZES[True] + rest == len(self.plain)
        return fits_2019 or bool(HEADER_SIZES[False] + rest != len(self.plain))

    def unit(self, *, is_cut: bool = False) -> Unit:
        """Give its parts and findings by offsets in the input. `is_cut`: its end has not arrived."""
        marks = self.content.marks
        unit = Unit("808", marks[0], marks[-1])
        self._header()
        if len(self.plain) <= self.body_start:
            count, least = len(self.plain), self.body_start + 1
            zh = f"只有 {count} 字节，消息头和校验码至少需要 {least} 字节"
            en = f"{count} bytes are too few for header and checksum, which need {least}"
            self.parts.find("too_short", zh, en, 0, count)
        else:
            self._body_and_check(unit, is_cut)
        places: list[Part | Finding] = [*self.parts.found, *self.parts.findings]
        for place in places:
            place.start, place.end = marks[place.start], marks[place.end]
        unit.parts = self.parts.found
        unit.findings = [*self.content.findings, *self.parts.findings]
        return unit

    def _header(self) -> None:
        """Add the fields of the header, as many as there are."""
        header = HEADER_2019 if self.is_2019 else HEADER_2013
        label = Label(clause=f"JT/T 808-{self.parts.edition} {HEADER_CLAUSE}")
        self._read(header, 0, header.sizeof(), label)
        if self.attributes & FRAGMENT_BIT and len(self.plain) > header.sizeof():
            self._read(FRAGMENT, header.sizeof(), self.body_start, label)
        for part in self.parts.found:
            part.section = "header"
            self._spell_out(part)
        if self.attributes & BIT_2019 and not self.is_2019 and len(self.plain) > self.body_start:
            zh, en = (
                "第14位为1却使用2013版消息头，按规则接受",
                "bit 14 is set and the header is that of 2013: accepted",
            )
            self.parts.find("header_of_2013", zh, en, 2, 4, Severity.NOTICE)

    def _read(self, declaration: Construct, start: int, end: int, label: Label) -> None:
        with following(Trace()) as trace, suppress(BodyError):
            read(declaration, self.plain[start:end])
        self.parts.reading(trace.readings[0], label, shift=start)

    def _spell_out(self, part: Part) -> None:
        if part.path == "msg_id" and isinstance(part.value, int):
            declared = MESSAGES.get(part.value)
            part.option = f"{declared.chinese} {declared.name}" if declared else ""
            part.value = f"0x{part.value:04X}"
        elif part.path == "attributes" and isinstance(part.value, int):
            part.bits = _attribute_bits(part.value, self.is_2019)
            part.value = f"0x{part.value:04X}"
        elif part.path == "raw_id":
            part.option = identity_of(part.value)

    def _body_and_check(self, unit: Unit, is_cut: bool) -> None:
        body_end, check_at = self._extent(is_cut)
        frame = self._as_frame(self.plain[self.body_start : body_end])
        edition = self.parts.edition = edition_of(frame, self.known_edition)
        _describe(unit, frame, edition)
        with following(Trace()) as trace:
            fields = decode_frame(frame, edition, **self.known)
        add_body(self.parts, frame, fields, trace.readings, self.body_start)
        self._tail(body_end, check_at)
        unit.frame = frame

    def _as_frame(self, body: bytes) -> Frame:
        header = HEADER_2019 if self.is_2019 else HEADER_2013
        fields = header.parse(self.plain)
        fragment = None
        if self.attributes & FRAGMENT_BIT:
            found = FRAGMENT.parse(self.plain[header.sizeof() :])
            fragment = found.total, found.index
        return Frame(
            fields.msg_id,
            fields.raw_id,
            fields.serial,
            body,
            fields.get("version"),
            fragment,
            self.attributes,
        )

    def _extent(self, is_cut: bool) -> tuple[int, int | None]:
        """Find where the body ends and where the checksum stands, and name what contradicts the header."""
        count, total = len(self.plain), self.body_start + self.said + 1
        there = count - self.body_start - 1
        if count > total:
            if checksum(self.plain[:total]) == 0:
                return total - 1, total - 1
            return total - 1, count - 1
        if count < total:
            missing = total - count
            zh = f"消息头说消息体有 {self.said} 字节，实有 {max(0, there)} 字节：缺少 {missing} 字节"
            en = (
                f"the header says {self.said} bytes of body, {max(0, there)} are there: {missing} are missing"
            )
            if not is_cut and checksum(self.plain) == 0:
                zh, en = (
                    f"{zh}（校验码正确，应是长度写错）",
                    f"{en} (the checksum fits, so the length is wrong)",
                )
            self.parts.find("bad_length", zh, en, count - 1, count - 1)
        return (count, None) if is_cut and count < total else (count - 1, count - 1)

    def _tail(self, body_end: int, check_at: int | None) -> None:
        """Add what stands behind the body: bytes left over, the checksum, bytes behind that."""
        if check_at is None:
            return
        self._left_over(body_end, check_at)
        sent, computed = self.plain[check_at], checksum(self.plain[:check_at])
        label = Label("checksum", "校验码", "checksum: exclusive or of header and body", clause=CHECK_CLAUSE)
        part = self.parts.add(Kind.FIELD, check_at, check_at + 1, label, f"0x{sent:02X}", section="check")
        if sent != computed:
            zh = f"校验码错误：应为 0x{computed:02X}，实为 0x{sent:02X}"
            en = f"wrong checksum: expected 0x{computed:02X}, sent is 0x{sent:02X}"
            self.parts.remark(part, "bad_checksum", zh, en)
        self._left_over(check_at + 1, len(self.plain))

    def _left_over(self, start: int, end: int) -> None:
        if start >= end:
            return
        label = Label("surplus", "多余字节", "more than the header says")
        part = self.parts.add(Kind.FIELD, start, end, label, self.plain[start:end], section="garbage")
        zh = f"消息头说消息体有 {self.said} 字节，多出 {end - start} 字节"
        en = f"the header says {self.said} bytes of body, {end - start} more are there"
        self.parts.remark(part, "bad_length", zh, en)


def _describe(unit: Unit, frame: Frame, edition: Edition) -> None:
    declared = MESSAGES.get(frame.msg_id)
    unit.edition, unit.msg_id = edition.value, frame.msg_id
    unit.terminal, unit.serial = frame.identity, frame.serial
    if declared is not None:
        unit.zh, unit.en = declared.chinese, declared.name
        unit.direction, unit.clause = declared.direction.value, clause_of(declared.clause, edition)


def add_body(
    parts: Parts, frame: Frame, fields: dict[str, Any] | Undecodable, readings: list[Reading], at: int
) -> None:
    """Add the parts of a body that stands at `at`: `fields` and `readings` are what decoding it gave."""
    declared, body = MESSAGES.get(frame.msg_id), frame.body
    label = Label(clause=clause_of(declared.clause, parts.edition) if declared else "")
    if declared is None or not readings or readings[0].data != body:
        _add_raw(parts, frame, fields, at)
        return
    if isinstance(fields, Undecodable):
        own = declared.layout(parts.edition)
        parts.reading(next(r for r in readings if r.declaration is own), label, shift=at)
        return
    parts.reading(readings[-1], label, shift=at)  # the search for a layout ends at the one that fits
    name = fields.get(LAYOUT)
    if name is not None and name != declared.own_layout(parts.edition):
        zh, en = f"消息体符合另一种格式：{name}", f"the body has the layout {name}, not that of its edition"
        parts.find("other_layout", zh, en, at, at + len(body), Severity.NOTICE)


def _add_raw(parts: Parts, frame: Frame, fields: dict[str, Any] | Undecodable, at: int) -> None:
    """Add a body that is not read where it stands: unknown, encrypted, or a part of a message."""
    label = Label("body", "消息体", "body")
    if not frame.body:
        return
    part = parts.add(Kind.FIELD, at, at + len(frame.body), label, frame.body)
    if frame.cipher:
        zh, en = f"消息体已加密，方式 {frame.cipher}", f"the body is encrypted by cipher {frame.cipher}"
        parts.remark(part, "encrypted", zh, en, Severity.NOTICE)
    elif frame.fragment is not None:
        total, index = frame.fragment
        zh, en = f"分包消息第 {index} 包，共 {total} 包", f"fragment {index} of {total} of a message"
        parts.remark(part, "fragment", zh, en, Severity.NOTICE)
    else:
        error = fields.error if isinstance(fields, Undecodable) else ""
        zh = f"消息ID 0x{frame.msg_id:04X} 未声明，消息体原样保留"
        parts.remark(part, "unknown_message", zh, error, Severity.NOTICE)


def _attribute_bits(value: int, is_2019: bool) -> list[Bit]:
    """消息体属性, bit by bit."""
    cipher = (value & CIPHER_BITS) >> CIPHER_SHIFT
    found = [
        Bit(0, value & LENGTH_BITS, "bytes of body", "消息体长度", 10),
        Bit(10, cipher, "cipher", "数据加密方式", 3),
        Bit(13, value >> 13 & 1, "fragmented", "分包"),
    ]
    if is_2019:
        found.append(Bit(14, 1, "version flag: 2019", "版本标识"))
    elif value & BIT_2019:
        found.append(Bit(14, 1, "reserved", "保留", is_reserved=True))
    return found + ([Bit(15, 1, "reserved", "保留", is_reserved=True)] if value >> 15 & 1 else [])


def record(explanation: Explanation) -> dict[str, Any]:
    """Give an explanation as JSON values."""
    return {
        "is_valid": explanation.is_valid,
        "hex": explanation.data.hex(),
        "units": [_unit_record(unit, explanation.data) for unit in explanation.units],
        "wholes": [
            {"reason": whole.reason, "hex": whole.data.hex(), **_unit_record(whole.unit, whole.data)}
            for whole in explanation.wholes
        ],
    }


def _unit_record(unit: Unit, data: bytes) -> dict[str, Any]:
    return {
        "protocol": unit.protocol or None,
        "offset": unit.start,
        "length": unit.end - unit.start,
        "edition": unit.edition or None,
        "msg_id": None if unit.msg_id is None else f"0x{unit.msg_id:04X}",
        "zh": unit.zh,
        "en": unit.en,
        "direction": unit.direction or None,
        "clause": unit.clause,
        "terminal": unit.terminal or None,
        "serial": unit.serial,
        "findings": [finding_record(finding) for finding in unit.findings],
        "parts": [part_record(part, data) for part in unit.parts],
    }


def finding_record(finding: Finding) -> dict[str, Any]:
    """Give a finding as JSON values."""
    return {
        "code": finding.code,
        "severity": finding.severity.value,
        "zh": finding.zh,
        "en": finding.en,
        "offset": finding.start,
        "length": finding.end - finding.start,
    }


def part_record(part: Part, data: bytes) -> dict[str, Any]:
    """Give a part as JSON values; `data` is what its offsets belong to."""
    return {
        "kind": part.kind.value,
        "section": part.section,
        "offset": part.start,
        "length": part.end - part.start,
        "hex": data[part.start : part.end].hex(),
        "field": part.path,
        "level": part.level,
        "value": None if part.kind is Kind.GROUP else _value_record(part.value),
        "unit": part.unit,
        "quantity": quantity(part.value, part.unit),
        "option": part.option,
        "bits": [_bit_record(bit) for bit in part.bits],
        "zh": part.zh,
        "en": part.en,
        "clause": part.clause,
        "finding": finding_record(part.finding) if part.finding else None,
    }


def _value_record(value: Any) -> Any:
    """Give a value as JSON has it; numbers that JavaScript would round are text."""
    if isinstance(value, int) and abs(value) > MAX_EXACT:
        return str(value)
    return to_json(value)


def _bit_record(bit: Bit) -> dict[str, Any]:
    return {
        "bit": bit.bit,
        "width": bit.width,
        "value": bit.value,
        "name": bit.name,
        "zh": bit.chinese,
        "is_reserved": bit.is_reserved,
    }

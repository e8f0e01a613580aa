"""Every byte of JT/T 809 frames: the part of `protocol.explain` for them.

Offsets and values come from the declarations, as there. Found are frames by the rules of
`protocol.jt809.framing`: between 0x5b and the next 0x5d, cut off by another 0x5b, garbage outside.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final, NamedTuple

from construct import Construct

from protocol.body import read
from protocol.edition import Edition
from protocol.errors import BodyError, FrameError
from protocol.jt809.adapters import as_id
from protocol.jt809.cipher import Keys
from protocol.jt809.dialect import Dialect
from protocol.jt809.framing import (
    CRC_SIZE,
    END,
    FLAGS_SIZE,
    HEADER_2011,
    HEADER_2019,
    START,
    Frame,
    crc,
    looks_2019,
    verify,
)
from protocol.jt809.message import GROUPS, LENGTH_SIZE, MESSAGES, MessageType, decode_frame
from protocol.meaning import clause_of
from protocol.message import LAYOUT, Undecodable
from protocol.parts import Content, Finding, Kind, Label, Part, Parts, Severity, Unit
from protocol.trace import Reading, Trace, following

STANDARD: Final = "JT/T 809"
FRAME_CLAUSE: Final = "§4.3"
EDITIONS: Final = {Dialect.V1: Edition.E2011, Dialect.V2: Edition.E2011, Dialect.V3: Edition.E2019}
"""Whose alarm and status words a dialect carries."""
ESCAPED: Final = {b"\x5a\x01": 0x5B, b"\x5a\x02": 0x5A, b"\x5e\x01": 0x5D, b"\x5e\x02": 0x5E}


class Segment(NamedTuple):
    """A frame between its flags, or bytes outside of any."""

    start: int
    end: int
    is_frame: bool
    has_closing: bool = False


def is_809(wire: bytes) -> bool:
    """Tell frames of JT/T 809 from those of JT/T 808: by the first flag, or by what is right without."""
    if wire[:1] == START:
        return True
    try:
        verify(wire)
    except FrameError:
        return False
    return True


def units(wire: bytes, at: int, dialect: Dialect | None = None, keys: Keys | None = None) -> Iterator[Unit]:
    """Explain a piece of input that stands at `at`. Without `dialect` the header is guessed as by `parse`."""
    if wire[:1] != START and is_809(wire):
        content = Content(wire, list(range(at, at + len(wire) + 1)), [])
        unit = _FrameReader(content, dialect, keys).unit(is_cut=False)
        zh, en = "没有标识位：按去转义后的内容解释", "without flags: read as a frame without its escapes"
        unit.findings.insert(0, Finding("no_flags", zh, en, unit.start, unit.end, Severity.NOTICE))
        yield unit
        return
    for segment in _segments(wire):
        if not segment.is_frame:
            yield _garbage(wire[segment.start : segment.end], at + segment.start)
            continue
        inner = wire[segment.start + 1 : segment.end - segment.has_closing]
        content = _unescaped(inner, at + segment.start + 1)
        unit = _FrameReader(content, dialect, keys).unit(is_cut=not segment.has_closing)
        unit.parts.insert(0, _flag(at + segment.start, "头标识 start flag", START))
        unit.start, unit.end = at + segment.start, at + segment.end
        if segment.has_closing:
            unit.parts.append(_flag(unit.end - 1, "尾标识 end flag", END))
        else:
            zh, en = "缺少尾标识 0x5d：帧不完整", "the end flag 0x5d is missing"
            unit.findings.append(Finding("no_closing_flag", zh, en, unit.end, unit.end))
        yield unit


def _segments(wire: bytes) -> Iterator[Segment]:
    start, is_inside = 0, False
    for index in range(len(wire)):
        flag = wire[index : index + 1]
        if flag == START:
            if start < index:
                yield Segment(start, index, is_inside)
            start, is_inside = index, True
        elif flag == END and is_inside:
            yield Segment(start, index + 1, True, True)
            start, is_inside = index + 1, False
    if start < len(wire):
        yield Segment(start, len(wire), is_inside)


def _garbage(content: bytes, at: int) -> Unit:
    zh, en = "帧之外的字节", "bytes outside of frames"
    part = Part(
        Kind.FIELD, at, at + len(content), "garbage", "无效数据", "garbage", content, section="garbage"
    )
    part.finding = Finding("garbage", zh, en, part.start, part.end)
    return Unit("", part.start, part.end, [part], [part.finding])


def _flag(at: int, docs: str, value: bytes) -> Part:
    zh, _, en = docs.partition(" ")
    clause = f"{STANDARD}-2011 {FRAME_CLAUSE}"
    return Part(Kind.FIELD, at, at + 1, "flag", zh, en, value.hex(), clause=clause, section="flag")


def _unescaped(content: bytes, at: int) -> Content:
    """Undo escapes, note where each byte stood, and what cannot be undone."""
    found, plain, index = Content(b"", [], []), bytearray(), 0
    while index < len(content):
        found.marks.append(at + index)
        pair = content[index : index + 2]
        if pair in ESCAPED:
            plain.append(ESCAPED[pair])
            index += 2
            continue
        if pair[:1] in (b"\x5a", b"\x5e"):
            said = f"0x{pair[1:].hex()}" if pair[1:] else "nothing"
            zh = f"偏移 {at + index} 处 0x{pair[:1].hex()} 之后是 {said}，既不是 01 也不是 02"
            en = f"0x{pair[:1].hex()} at offset {at + index} is followed by {said}, neither 01 nor 02"
            found.findings.append(Finding("bad_escape", zh, en, at + index, at + index + len(pair)))
        plain.append(content[index])
        index += 1
    found.marks.append(at + len(content))
    found.plain = bytes(plain)
    return found


class _FrameReader:
    """Explains one plain frame, whatever is wrong with it. All offsets are plain ones until the end."""

    def __init__(self, content: Content, dialect: Dialect | None, keys: Keys | None) -> None:
        self.content = content
        self.plain = content.plain
        self.dialect = dialect or (Dialect.V3 if looks_2019(self.plain) else Dialect.V1)
        self.keys = keys
        self.header = HEADER_2019 if self.dialect.is_2019 else HEADER_2011
        self.body_start: int = self.header.sizeof()
        self.parts = Parts(EDITIONS[self.dialect])

    def unit(self, *, is_cut: bool) -> Unit:
        """Give its parts and findings by offsets in the input. `is_cut`: its end has not arrived."""
        marks, count = self.content.marks, len(self.plain)
        unit = Unit("809", marks[0], marks[-1], edition=self.dialect.edition)
        self._header()
        least = self.body_start + CRC_SIZE
        if count < least:
            zh = f"只有 {count} 字节，数据头和 CRC 至少需要 {least} 字节"
            en = f"{count} bytes are too few for header and CRC, which need {least}"
            self.parts.find("too_short", zh, en, 0, count)
            self._raw(min(count, self.body_start), count)
        else:
            self._body_and_crc(unit, is_cut)
        places: list[Part | Finding] = [*self.parts.found, *self.parts.findings]
        for place in places:
            place.start, place.end = marks[place.start], marks[place.end]
        unit.parts = self.parts.found
        unit.findings = [*self.content.findings, *self.parts.findings]
        return unit

    def _raw(self, start: int, end: int) -> None:
        if start < end:
            self.parts.add(
                Kind.FIELD, start, end, Label("surplus", "多余字节", "left over"), self.plain[start:end]
            )

    def _header(self) -> None:
        self._read(self.header, 0, self.body_start)
        for part in self.parts.found:
            part.section = "header"
            if part.path == "msg_id" and isinstance(part.value, int):
                declared = MESSAGES.get(part.value) or GROUPS.get(part.value)
                part.option = f"{declared.chinese} {declared.name}" if declared else ""
                part.value = f"0x{part.value:04X}"

    def _read(self, declaration: Construct, start: int, end: int) -> None:
        with following(Trace()) as trace, suppress(BodyError):
            read(declaration, self.plain[start:end])
        label = Label(clause=f"{STANDARD}-{self.dialect.edition} {FRAME_CLAUSE}")
        self.parts.reading(trace.readings[0], label, shift=start)

    def _body_and_crc(self, unit: Unit, is_cut: bool) -> None:
        body_end, crc_at = self._extent(is_cut)
        values = self.header.parse(self.plain)
        body = self.plain[self.body_start : body_end]
        frame = Frame(
            values.msg_id,
            values.serial,
            values.gnss_center_id,
            body,
            values.protocol_version,
            values.encrypt_flag,
            values.encrypt_key,
            values.get("time"),
        )
        with following(Trace()) as trace:
            fields = decode_frame(frame, self.dialect, self.keys)
        self._describe(unit, frame, fields)
        self._body(frame, fields, trace.readings)
        self._crc(body_end, crc_at)

    def _describe(self, unit: Unit, frame: Frame, fields: dict[str, Any] | Undecodable) -> None:
        unit.msg_id, unit.serial = frame.msg_id, frame.serial
        sub_id = fields.get("sub_msg_id") if isinstance(fields, dict) else None
        declared = MESSAGES.get(as_id(sub_id) if sub_id else frame.msg_id)
        if declared is not None:
            unit.zh, unit.en = declared.chinese, declared.name
            unit.direction, unit.clause = declared.direction.value, self._clause(declared)
        elif frame.msg_id in GROUPS:
            unit.zh, unit.en = GROUPS[frame.msg_id].chinese, GROUPS[frame.msg_id].name

    def _clause(self, declared: MessageType | None) -> str:
        return clause_of(declared.clause, self.dialect.edition, STANDARD) if declared else ""

    def _extent(self, is_cut: bool) -> tuple[int, int | None]:
        """Find where the body ends and where the CRC stands, and name what contradicts the header."""
        count, total = len(self.plain), int.from_bytes(self.plain[:4]) - FLAGS_SIZE
        if total == count:
            return count - CRC_SIZE, count - CRC_SIZE
        there = count + FLAGS_SIZE
        if self.body_start + CRC_SIZE <= total < count:
            tail = self.plain[total - CRC_SIZE : total]
            is_right = crc(self.plain[: total - CRC_SIZE]) == int.from_bytes(tail)
            return total - CRC_SIZE, (total if is_right else count) - CRC_SIZE
        said = total + FLAGS_SIZE
        zh, en = (
            f"数据头说全帧 {said} 字节，实有 {there} 字节",
            f"the header says {said} bytes, {there} are there",
        )
        if total > count:
            zh, en = f"{zh}：缺少 {total - count} 字节", f"{en}: {total - count} are missing"
        self.parts.find("bad_length", zh, en, count, count)
        return (count, None) if is_cut and total > count else (count - CRC_SIZE, count - CRC_SIZE)

    def _body(self, frame: Frame, fields: dict[str, Any] | Undecodable, readings: list[Reading]) -> None:
        start, end = self.body_start, self.body_start + len(frame.body)
        if frame.is_encrypted or not readings:
            self._unread(start, end, "encrypted" if frame.is_encrypted else "unknown_message", fields)
            return
        if frame.msg_id not in GROUPS:
            declared = MESSAGES.get(frame.msg_id)
            self.parts.reading(_chosen(readings, fields), Label(clause=self._clause(declared)), shift=start)
            self._other_layout(fields, start, end)
        else:
            self._enveloped(frame, fields, readings)

    def _unread(self, start: int, end: int, code: str, fields: dict[str, Any] | Undecodable) -> None:
        if start < end:
            error = fields.error if isinstance(fields, Undecodable) else code
            part = self.parts.add(
                Kind.FIELD, start, end, Label("body", "业务数据体", "body"), self.plain[start:end]
            )
            zh = "业务数据体已加密" if code == "encrypted" else "消息未声明，原样保留"
            self.parts.remark(part, code, zh, error, Severity.NOTICE)

    def _enveloped(self, frame: Frame, fields: dict[str, Any] | Undecodable, readings: list[Reading]) -> None:
        """Add the envelope, and the sub-message inside."""
        start, envelope = self.body_start, readings[0]
        label = Label(clause=f"{STANDARD}-{self.dialect.edition} §4.5")
        if isinstance(fields, Undecodable):
            self.parts.reading(envelope, label, shift=start)
            return
        sub_id = as_id(fields["sub_msg_id"])
        declared, sub = MESSAGES.get(sub_id), fields["sub_body"]
        self.parts.reading(envelope, label, shift=start, is_head=True)
        for part in self.parts.found:
            if part.path == "sub_msg_id" and declared is not None:
                part.option = f"{declared.chinese} {declared.name}"
        at = start + envelope.node.end
        if "data_length" in fields:
            length = label.of("data_length", "后续数据长度 bytes of the sub-message")
            self.parts.add(Kind.FIELD, at, at + LENGTH_SIZE, length, fields["data_length"])
            at += LENGTH_SIZE
        end = start + len(frame.body) - len(fields.get("rest", b""))
        self._sub_message(sub, [r for r in readings[1:] if r.data == self.plain[at:end]], (at, end), declared)
        if "rest" in fields:
            rest = Label("rest", "剩余", "left over behind the sub-message")
            part = self.parts.add(Kind.FIELD, end, start + len(frame.body), rest, fields["rest"])
            self.parts.remark(part, "left_over", f"多出 {part.end - end} 字节", "bytes are left over")

    def _sub_message(
        self,
        sub: dict[str, Any],
        readings: list[Reading],
        place: tuple[int, int],
        declared: MessageType | None,
    ) -> None:
        label = Label("sub_body", "子业务数据", "sub-message", clause=self._clause(declared))
        start, end = place
        if not readings:
            raw = Label("sub_body.raw", "子业务数据", "sub-message")
            part = self.parts.add(Kind.FIELD, start, end, raw, self.plain[start:end])
            zh, en = "子业务类型未声明，原样保留", str(sub.get("error", ""))
            self.parts.remark(part, "unknown_message", zh, en, Severity.NOTICE)
            return
        if "raw" in sub:
            raw = Label("sub_body.raw", "子业务数据", "sub-message")
            self.parts.add(Kind.GROUP, start, end, raw, sub["raw"])
        self.parts.reading(_chosen(readings, sub), label, shift=start)
        self._other_layout(sub, start, end)

    def _other_layout(self, fields: dict[str, Any] | Undecodable, start: int, end: int) -> None:
        if isinstance(fields, dict) and LAYOUT in fields:
            name = fields[LAYOUT]
            zh, en = f"符合另一种格式：{name}", f"it has the layout {name}, not that of its dialect"
            self.parts.find("other_layout", zh, en, start, end, Severity.NOTICE)

    def _crc(self, body_end: int, crc_at: int | None) -> None:
        if crc_at is None:
            return
        self._left_over(body_end, crc_at)
        end = crc_at + CRC_SIZE
        sent, computed = int.from_bytes(self.plain[crc_at:end]), crc(self.plain[:crc_at])
        label = Label(
            "crc", "校验码", "CRC-16/CCITT of header and body", clause=f"{STANDARD}-2011 {FRAME_CLAUSE}"
        )
        part = self.parts.add(Kind.FIELD, crc_at, end, label, f"0x{sent:04X}", section="check")
        if sent != computed:
            zh = f"CRC 错误：应为 0x{computed:04X}，实为 0x{sent:04X}"
            en = f"wrong CRC: expected 0x{computed:04X}, sent is 0x{sent:04X}"
            self.parts.remark(part, "bad_checksum", zh, en)
        self._left_over(end, len(self.plain))

    def _left_over(self, start: int, end: int) -> None:
        if start < end:
            label = Label("surplus", "多余字节", "more than the header says")
            part = self.parts.add(Kind.FIELD, start, end, label, self.plain[start:end], section="garbage")
            zh, en = f"比数据头所说多出 {end - start} 字节", f"{end - start} bytes more than the header says"
            self.parts.remark(part, "bad_length", zh, en)


def _chosen(readings: list[Reading], fields: dict[str, Any] | Undecodable) -> Reading:
    """Give the reading whose fields these are: the search for another layout ends at the one that fits."""
    return readings[-1] if isinstance(fields, dict) and LAYOUT in fields else readings[0]

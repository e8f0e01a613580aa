"""The parts of a message: which bytes are which field, what their value is and means.

Made from a followed reading (`protocol.trace`): offsets and values are those of the declarations as they were
really read, so that nothing can be explained otherwise than it is decoded. Paths are those of the decoded
fields: "items.0.speed_kmh" is fields["items"][0]["speed_kmh"]. The framing of lists that are no construct
declaration (items, parameters, the recorder's packet) is taken apart here.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from construct import Adapter, Array, Computed, GreedyRange, Prefixed, Renamed, Struct

from protocol import recorder
from protocol.adapters import END
from protocol.body import REST
from protocol.edition import Edition
from protocol.frame import Frame
from protocol.item import ITEMS, ItemChain, ItemType
from protocol.meaning import (
    ALARM_MASKS,
    Bit,
    alarm_bits,
    bits_of,
    chinese_and_english,
    clause_of,
    option_of,
    unit_of,
)
from protocol.parameter import HEAD as PARAMETER_HEAD
from protocol.parameter import PARAMETERS, ParameterList, ParameterType
from protocol.trace import Node, Reading

ITEM_HEAD: Final = 2
"""Bytes of an item's id and length."""

ITEMS_CLAUSE: Final = {Edition.E2011: "table 20", Edition.E2013: "table 27", Edition.E2019: "table 27"}
PARAMETERS_CLAUSE: Final = {Edition.E2011: "table 11", Edition.E2013: "table 12", Edition.E2019: "table 13"}
"""附加信息定义 and 终端参数设置各参数项定义及说明, for those whose declaration names no clause."""


class Severity(StrEnum):
    """How much a finding matters."""

    ERROR = "error"
    """Against the standard: the bytes are no valid frame, or not what they claim to be."""
    NOTICE = "notice"
    """Accepted by rule, or not known here."""


@dataclass(eq=False, slots=True)
class Finding:
    """What is wrong, or remarkable, with some bytes."""

    code: str
    """Stable name of it."""
    zh: str
    en: str
    start: int = 0
    end: int = 0
    severity: Severity = Severity.ERROR


class Kind(StrEnum):
    """What a part is."""

    FIELD = "field"
    """Bytes with a meaning. The fields of a frame cover each of its bytes once."""
    GROUP = "group"
    """A head line: its bytes are those of the parts behind it."""
    DERIVED = "derived"
    """Follows from other fields and has no bytes of its own."""


@dataclass(slots=True)
class Part:
    """Some adjacent bytes, or something that follows from them."""

    kind: Kind
    start: int
    end: int
    path: str
    zh: str
    en: str
    value: Any = None
    unit: str = ""
    clause: str = ""
    level: int = 0
    option: str = ""
    """What exactly this value means."""
    bits: list[Bit] = field(default_factory=list)
    finding: Finding | None = None
    section: str = "body"
    """Which part of the frame: "flag", "header", "body", "check" or "garbage"."""


@dataclass(slots=True)
class Unit:
    """A frame, or bytes that are none."""

    protocol: str
    """"808" or "809"; "" for bytes that are no frame."""
    start: int
    end: int
    parts: list[Part] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    edition: str = ""
    msg_id: int | None = None
    zh: str = ""
    en: str = ""
    direction: str = ""
    clause: str = ""
    terminal: str = ""
    serial: int | None = None
    frame: Frame | None = None
    """The frame of JT/T 808, as far as it can be read."""


@dataclass(slots=True)
class Content:
    """What stands between two flags, without its escapes."""

    plain: bytes
    marks: list[int]
    """Where each plain byte begins in the input, and where the last one ends."""
    findings: list[Finding]


@dataclass(frozen=True, slots=True)
class Label:
    """What is known about a field before its bytes are looked at."""

    path: str = ""
    zh: str = ""
    en: str = ""
    unit: str = ""
    clause: str = ""
    level: int = 0

    def of(self, name: str, docs: str = "") -> "Label":
        """Give the label of a field inside."""
        zh, en = chinese_and_english(docs, name)
        return Label(self._join(name), zh, en, unit_of(name), self.clause, self.level + bool(self.path))

    def at(self, index: int) -> "Label":
        """Give the label of an element of a list."""
        return replace(self, path=self._join(str(index)), level=self.level + 1)

    def length(self) -> "Label":
        """Give the label of the length in front of it."""
        return replace(self, path=f"{self.path}_length", zh=f"{self.zh}长度", en="its bytes", unit="")

    def _join(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name


class Parts:
    """Collects the parts of one message, in the order of their bytes."""

    def __init__(self, edition: Edition, profile: Any = None) -> None:
        self.edition = edition
        self.profile = profile
        self.found: list[Part] = []
        self.findings: list[Finding] = []
        self.at = 0
        """Bytes before this have a part."""
        self.shift = 0
        """Where the reading that is looked at stands, unless its own offsets say it."""
        self.source: Reading | None = None

    def add(self, kind: Kind, start: int, end: int, label: Label, value: Any = None, **more: Any) -> Part:
        """Add a part. Bytes that were skipped become one of their own, so that every byte has one."""
        start, end = start + self.shift, end + self.shift
        if kind is Kind.FIELD and start > self.at:
            skipped = Part(Kind.FIELD, self.at, start, "", "未声明", "not declared", level=label.level)
            self.found.append(skipped)
        if kind is Kind.FIELD:
            self.at = max(self.at, end)
        value = bytes(value) if isinstance(value, bytes) else value
        part = Part(
            kind,
            start,
            end,
            label.path,
            label.zh,
            label.en,
            value,
            label.unit,
            label.clause,
            label.level,
            **more,
        )
        self.found.append(part)
        return part

    def remark(self, part: Part, code: str, zh: str, en: str, severity: Severity = Severity.ERROR) -> None:
        """Note what is wrong or remarkable with a part."""
        part.finding = self.find(code, zh, en, part.start, part.end, severity)

    def find(
        self, code: str, zh: str, en: str, start: int, end: int, severity: Severity = Severity.ERROR
    ) -> Finding:
        """Note what is wrong or remarkable with some bytes."""
        finding = Finding(code, zh, en, start, end, severity)
        self.findings.append(finding)
        return finding

    def reading(
        self, reading: Reading, label: Label, *, shift: int | None = None, is_head: bool = False
    ) -> None:
        """Add all bytes of a reading, those too that its declaration did not reach unless it `is_head` of
        something. `shift` is where it stands, unless its offsets say it."""
        outer = self.shift, self.source
        self.shift, self.source = self.shift if shift is None else shift, reading
        if reading.nodes:
            self.node(reading.node, label)
        if not is_head:
            self._remainder(reading, label)
        self.shift, self.source = outer

    def _remainder(self, reading: Reading, label: Label) -> None:
        """Add what the declaration did not read: behind its end, or from the field on that stopped it."""
        start, error = self.at - self.shift, reading.node.error if reading.nodes else None
        count, data = reading.end - start, reading.data[start - reading.start :]
        stopped = _stopped_at(reading.node) if error else ""
        if error and stopped != END.name:
            label = replace(label.of(stopped or REST), zh="未能解释", en="not explained")
            part = self.add(Kind.FIELD, start, reading.end, label, data)
            self.remark(part, "unread", *_why(error, stopped, count))
        elif count > 0:
            part = self.add(
                Kind.FIELD, start, reading.end, replace(label.of(REST), zh="剩余", en="left over"), data
            )
            zh, en = (
                f"多出 {count} 字节，声明到此为止",
                f"{count} bytes are left over behind what is declared",
            )
            self.remark(part, "left_over", zh, en)

    def node(self, node: Node, label: Label) -> None:
        """Add what one construct read."""
        label, node = _named(node, label)
        declaration = node.declaration
        if isinstance(declaration, ItemChain):
            self._items(node, label)
        elif isinstance(declaration, ParameterList):
            self._parameters(node, label, {}, label)
        elif isinstance(declaration, Prefixed):
            self._prefixed(node, label, None)
        elif isinstance(declaration, Adapter):
            self._adapted(node, label)
        elif isinstance(declaration, Struct):
            self._struct(node, label)
        elif isinstance(declaration, Array | GreedyRange):
            self._group(node, label)
            for index, element in enumerate(node.children):
                self.node(element, label.at(index))
        elif node.children:
            self.node(node.children[-1], label)  # If, Select, Rebuild …: what they chose
        else:
            self._leaf(node, label)

    def _group(self, node: Node, label: Label, value: Any = None) -> None:
        if label.path and (node.start < node.end or node.error is not None):
            end = self.source.end if node.error is not None and self.source else node.end
            self.add(Kind.GROUP, node.start, end, label, value)

    def _data(self, node: Node) -> bytes:
        assert self.source is not None
        return self.source.data[node.start - self.source.start : node.end - self.source.start]

    def _leaf(self, node: Node, label: Label) -> None:
        value = node.value
        if node.error is not None or (node.start == node.end and value is None):
            return
        if isinstance(node.declaration, Computed):
            if not isinstance(value, dict | list):
                self.add(Kind.DERIVED, node.start, node.end, label, value)
            return
        self._field(node.start, node.end, label, value)

    def _field(self, start: int, end: int, label: Label, value: Any) -> Part:
        part = self.add(Kind.FIELD, start, end, label, value)
        part.bits = bits_of(value, label.en, self.edition)
        part.option = "" if part.bits else option_of(value, label.en)
        return part

    def _struct(self, node: Node, label: Label) -> None:
        self._group(node, label)
        for child, computed in _with_contents(node.children):
            if computed is None:
                self.node(child, label)
            else:
                self._explained(child, computed, label)

    def _explained(self, child: Node, computed: Node, label: Label) -> None:
        """Add a field whose bytes another one, which has none of its own, reads once more."""
        inside, computed = _named(computed, label)
        own, child = _named(child, label)
        if isinstance(child.declaration, ParameterList):
            self._parameters(child, own, _by_place(computed.readings), inside)
            return
        inside = replace(inside, level=own.level + 1)
        whole = [r for r in computed.readings if r.data == self._data(child) and not r.failed]
        if whole:
            self._group(child, own, child.value)
            self.reading(whole[-1], inside, shift=child.start + self.shift)
        elif isinstance(computed.value, dict) and "mark" in computed.value:
            self._group(child, own, child.value)
            self._recorder(child, computed, inside)
        else:
            self.node(child, replace(own, level=label.level))

    def _prefixed(self, node: Node, label: Label, content: Reading | None) -> None:
        """Add a value behind its length."""
        if len(node.children) < 2:
            return
        length, inner = node.children
        name = replace(
            label, path=f"{label.path}_length", zh=f"{label.zh}长度", en=f"length of {label.en}", unit=""
        )
        self._field(length.start, length.end, name, length.value)
        if content is None:
            self.node(inner, label)
        else:
            self._read_inside(inner, label, content)

    def _adapted(self, node: Node, label: Label) -> None:
        """Add an adapter's value, or what it has read inside."""
        if node.error is not None:
            return
        if not node.readings:
            self._leaf_of_adapter(node, label)
            return
        inner = node.children[-1]
        if isinstance(inner.declaration, Prefixed):
            self._prefixed(inner, label, chosen(node))
        else:
            self._read_inside(inner, label, chosen(node))

    def _leaf_of_adapter(self, node: Node, label: Label) -> None:
        inner = node.children[-1] if node.children else None
        if inner is not None and isinstance(inner.declaration, Prefixed):
            length = inner.children[0]
            self._field(length.start, length.end, label.length(), length.value)
            node = replace(node, start=length.end)
        if isinstance(node.value, dict) and "raw" in node.value:
            self._unread(node.start, node.end, label, node.value["raw"], str(node.value.get("error", "")))
        elif node.value is not None or node.start < node.end:
            self._field(node.start, node.end, label, node.value)

    def _read_inside(self, node: Node, label: Label, reading: Reading) -> None:
        """Add a value that was read on its own from the bytes of a field."""
        if reading.failed:
            group = self.add(
                Kind.GROUP, node.start, node.end, replace(label, path=f"{label.path}.raw"), node.value
            )
            self.remark(group, "unread", f"{label.zh}无法解析", f"{label.en} cannot be read")
        self.reading(reading, label)

    def _unread(self, start: int, end: int, label: Label, data: bytes, error: str) -> None:
        part = self.add(Kind.FIELD, start, end, replace(label, path=f"{label.path}.raw"), data)
        self.remark(part, "unread", f"{label.zh}无法解析: {error}", f"{label.en} cannot be read: {error}")

    # Lists whose framing is no declaration

    def _items(self, node: Node, label: Label) -> None:
        """Add 位置附加信息项: id BYTE, length BYTE, value."""
        self._group(node, label)
        by_place, data, at = _by_place(node.readings), self._data(node), 0
        for key in node.value:
            id, length = data[at], data[at + 1]
            declared = self._item_type(id)
            start = node.start + at
            own = _item_label(label, key, declared, self.edition)
            self._head(start, ITEM_HEAD, own, f"{id:#04x}, {length}")
            self._entry(start + ITEM_HEAD, length, own, node.value[key], by_place)
            at += ITEM_HEAD + length

    def _item_type(self, id: int) -> ItemType | None:
        own = self.profile.items.get(id) if self.profile else None
        return own or ITEMS.get(id)

    def _parameters(
        self, node: Node, label: Label, details: "dict[tuple[int, int], Reading]", inside: Label
    ) -> None:
        """Add 终端参数项: id DWORD, length BYTE, value; `details` are readings of those of many fields."""
        self._group(node, label)
        by_place, data, at = _by_place(node.readings), self._data(node), 0
        for key in node.value:
            id, length = int.from_bytes(data[at : at + 4]), data[at + 4]
            start, end = node.start + at + PARAMETER_HEAD, node.start + at + PARAMETER_HEAD + length
            declared = PARAMETERS.get(id)
            own = _parameter_label(label, key, self.edition)
            self._head(node.start + at, PARAMETER_HEAD, own, f"{id:#06x}, {length}")
            found = details.get((start, end))
            if found is not None and not found.failed:
                self.add(Kind.GROUP, start, end, replace(own, level=own.level + 1), node.value[key])
                self.reading(found, replace(own, path=f"{inside.path}.{key}", level=own.level + 1))
            else:
                several = declared is not None and isinstance(declared.declaration, Struct)
                known = {(start, end): found} if several and found else by_place
                self._entry(start, length, own, node.value[key], known)
            at += PARAMETER_HEAD + length

    def _head(self, start: int, size: int, label: Label, value: str) -> None:
        head = replace(label, path=f"{label.path}.head", unit="")
        self.add(Kind.FIELD, start, start + size, head, value)

    def _entry(
        self, start: int, length: int, label: Label, value: Any, by_place: "dict[tuple[int, int], Reading]"
    ) -> None:
        """Add the value of one item or parameter."""
        label, reading = replace(label, level=label.level + 1), by_place.get((start, start + length))
        if reading is not None and not reading.failed:
            self.reading(reading, label)
            self._mask(label)
            return
        part = self.add(Kind.FIELD, start, start + length, label, value)
        if reading is not None:
            said = f"{length} bytes do not fit its declaration"
            self.remark(part, "wrong_length", f"{label.zh}: {length} 字节与声明不符", f"{label.en}: {said}")
        elif isinstance(value, bytes):
            self.remark(part, "unknown_item", "未知标识，原样保留", "unknown id, kept raw", Severity.NOTICE)

    def _mask(self, label: Label) -> None:
        """Spell out a parameter that masks alarms."""
        part, (_, _, key) = self.found[-1], label.path.rpartition(".")
        if key in _MASKS and isinstance(part.value, int):
            part.bits = alarm_bits(part.value, self.edition)

    def _recorder(self, child: Node, computed: Node, label: Label) -> None:
        """Add a packet of GB/T 19056: mark, command, length, reserved, data, checksum."""
        packet, data = computed.value, bytes.fromhex(child.value)
        is_fault = len(data) == recorder.FAULT and data[2] in recorder.FAULTS
        label = replace(label, clause="GB/T 19056-2012 appendix A")
        head = [("mark", 2, "起始字头 mark"), ("command_id", 1, "命令字 command")]
        head += [] if is_fault else [("length", 2, "数据块长度 bytes of data")]
        at = child.start
        for name, size, docs in [*head, ("reserved", 1, "备用 reserved")]:
            value = packet.get(name, len(data) - recorder.HEAD - 1)
            part = self.add(Kind.FIELD, at, at + size, label.of(name, docs), value)
            at += size
            if name == "command_id":
                part.option = packet["command"]
                self.add(Kind.DERIVED, at, at, label.of("command", "命令 command"), packet["command"])
        if "data" in packet:
            own = label.of("data", "数据块 data")
            if isinstance(packet["data"], dict):
                self.reading(computed.readings[-1], own, shift=at + self.shift)
            else:
                self.add(Kind.FIELD, at, child.end - 1, own, packet["data"])
        end = self.add(
            Kind.FIELD, child.end - 1, child.end, label.of("checksum", "校验字 checksum"), packet["checksum"]
        )
        if "error" in packet:
            self.remark(end, "bad_recorder_checksum", f"校验字错误: {packet['error']}", packet["error"])


_TOO_FEW: Final = re.compile(r"expected (\d+), found (\d+)")
_MASKS: Final = {f"0x{id:04X}" for id in ALARM_MASKS}


def chosen(node: Node) -> Reading:
    """Of the readings of a node give the one whose value it took: one that failed was only tried."""
    return next((reading for reading in reversed(node.readings) if not reading.failed), node.readings[0])


def _named(node: Node, label: Label) -> tuple[Label, Node]:
    """Take the name of a field: the outermost one, since construct wraps a field for its name and again for
    its docs."""
    if isinstance(node.declaration, Renamed):
        label = label.of(str(node.declaration.name), node.declaration.docs)
    while isinstance(node.declaration, Renamed) and node.children:
        node = node.children[-1]
    return label, node


def _with_contents(children: list[Node]) -> Iterator[tuple[Node, Node | None]]:
    """Give each field, with the one that reads its bytes once more and has none of its own."""
    contents: dict[int, Node] = {}
    behind: Node | None = None
    for child in children:
        _, node = _named(child, Label())
        is_content = node.readings or (isinstance(node.value, dict) and "mark" in node.value)
        if node.start < node.end:
            behind = child
        elif behind is not None and isinstance(node.declaration, Computed) and is_content:
            contents[id(behind)] = child
    explaining = {id(node) for node in contents.values()}
    for child in children:
        if id(child) not in explaining:
            yield child, contents.get(id(child))


def _by_place(readings: list[Reading]) -> dict[tuple[int, int], Reading]:
    """Readings by the bytes that they were given; of several the one that succeeded last."""
    found: dict[tuple[int, int], Reading] = {}
    for reading in readings:
        place = reading.start, reading.end
        if place not in found or not reading.failed:
            found[place] = reading
    return found


def _stopped_at(node: Node) -> str:
    """Give the path of the field that could not be read."""
    name = node.declaration.name if isinstance(node.declaration, Renamed) else None
    failed = next((child for child in reversed(node.children) if child.error is not None), None)
    inner = _stopped_at(failed) if failed else ""
    steps = [step for step in (name, inner) if step]
    return inner if inner.split(".")[0] == name else ".".join(steps)


def _why(error: Exception, name: str, count: int) -> tuple[str, str]:
    """Say in both languages what stopped a reading at a field."""
    found = _TOO_FEW.search(str(error))
    if found:
        return (
            f"字段 {name} 需要 {found[1]} 字节，只剩 {found[2]} 字节",
            f"field {name} needs {found[1]} bytes, {found[2]} are left",
        )
    reason = str(error).strip().splitlines()[-1].strip() if str(error).strip() else repr(error)
    return (
        f"读到字段 {name} 时停止: {reason}；{count} 字节无法解释",
        f"reading stopped at field {name}: {reason}; {count} bytes are not explained",
    )


def _item_label(label: Label, key: str, declared: ItemType | None, edition: Edition) -> Label:
    if declared is None:
        return replace(label.of(key), zh="未知附加信息项", en="unknown item", clause="")
    return _declared_label(label, key, declared, edition, ITEMS_CLAUSE)


def _parameter_label(label: Label, key: str, edition: Edition) -> Label:
    declared = PARAMETERS.get(int(key.partition("#")[0], 16))
    if declared is None:
        return replace(label.of(key), zh="未知参数", en="unknown parameter", clause="")
    return _declared_label(label, key, declared, edition, PARAMETERS_CLAUSE)


def _declared_label(
    label: Label, key: str, declared: ItemType | ParameterType, edition: Edition, tables: dict[Edition, str]
) -> Label:
    clause = declared.clause or f"{edition} {tables[edition]}"
    return replace(
        label.of(key),
        zh=declared.chinese,
        en=declared.name,
        unit=declared.unit,
        clause=clause_of(clause, edition),
    )

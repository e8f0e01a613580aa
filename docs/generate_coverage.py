"""Write docs/coverage.md from the registries of messages, items, parameters, and the tables of the platform.

python docs/generate_coverage.py > docs/coverage.md
"""

from collections.abc import Iterable, Mapping
from typing import Any

from construct import Construct, Renamed, Struct

from gateway import reception, repairs
from gateway.reception import ANSWERS, Answer
from protocol.adapters import _Hex
from protocol.edition import Edition
from protocol.items import ITEMS
from protocol.jt809.message import GROUPS
from protocol.jt809.message import MESSAGES as PLATFORM_MESSAGES
from protocol.message import DOWN, PLATFORM_REPLY, UP, MessageType
from protocol.messages import MESSAGES
from protocol.parameters import PARAMETERS
from protocol.passthrough import PASSTHROUGHS
from protocol.profiles import PROFILES
from protocol.recorder import COMMANDS as RECORDER_COMMANDS
from worker import messages as worker

HEAD = """# Coverage

What Northwatch reads and writes, and what the platform does with it. Every message is read **and** written,
in each edition that has it; `northwatch decode --explain` shows fields, values and bits of a frame, and
[extending.md](extending.md) says how to add some. A body that no declaration fits is kept raw, shown and
answered.

**codec**: *typed*: every field is declared; *raw*: the content is somebody else's and stays bytes; *empty*:
there is no body. `+n` counts further layouts: those of editions that differ, and forms that devices use
although no edition has them. **answer** is the one that the standard has.

This page is made from the registries by `docs/generate_coverage.py`.
"""

ANSWERED = {
    Answer.NONE: "answers nothing",
    Answer.GENERAL: "answers 0x8001",
    Answer.REGISTRATION: "registers, answers 0x8100",
    Answer.AUTHENTICATION: "authenticates, answers 0x8001",
    Answer.DEREGISTRATION: "ends the session, answers 0x8001",
    Answer.TIME: "answers 0x8004",
    Answer.FRAGMENTS: "sends the fragments again",
    Answer.MEDIUM: "asks for missing fragments, answers 0x8800",
    Answer.KEY: "answers 0x8A00",
}
"""What the gateway does."""

SENT = {
    PLATFORM_REPLY: "the gateway's answer",
    reception.REGISTER_REPLY: "the gateway's answer",
    reception.TIME: "the gateway's answer",
    reception.PLATFORM_KEY: "the gateway's answer",
    repairs.MEDIUM_REPLY: "the gateway's answer and request for fragments",
    repairs.ASK_AGAIN: "the gateway's request for fragments",
}
"""What the gateway sends by itself."""


def page() -> str:
    """Give the page as Markdown."""
    parts = [
        HEAD,
        _counts(),
        "## Messages of JT/T 808, JT/T 1078 and active safety\n",
        _table(
            ("id", "中文", "English", "editions", "sent by", "codec", "answer", "what the platform does"),
            map(_message, sorted(MESSAGES.values(), key=lambda type: type.id)),
        ),
        "## Additional items of location reports\n",
        _table(
            ("id", "中文", "English", "unit", "since", "codec"),
            (
                (f"0x{item.id:02X}", item.chinese, item.name, item.unit, item.since, _codec(item.declaration))
                for item in sorted(ITEMS.values(), key=lambda item: item.id)
            ),
        ),
        "Profiles of makers add items, or mean something else by one:\n",
        _table(("profile", "what differs", "items"), map(_profile, PROFILES.values())),
        "## Contents of 0x0900 and 0x8900\n",
        _table(
            ("type", "sent by", "中文", "English", "clause"),
            (
                (f"0x{found.type:02X}", _sender(found.direction), found.chinese, found.name, found.clause)
                for found in sorted(PASSTHROUGHS.values(), key=lambda found: (found.type, found.direction))
            ),
        ),
        "## Commands of the driving recorder in 0x8700, 0x8701 and 0x0700\n",
        _table(
            ("command", "中文", "English", "carries fields"),
            _recorder_commands(),
        ),
        "## Parameters of terminals\n",
        _table(("id", "中文", "English", "unit", "editions", "codec"), _parameters()),
        "## Messages of JT/T 809 between platforms\n",
        "Read and written by `protocol.jt809`; no process of Northwatch opens such a link.\n",
        _table(
            ("id", "中文", "English", "group", "dialects", "sent by", "codec", "answer"),
            map(_platform_message, sorted(PLATFORM_MESSAGES.values(), key=lambda type: type.id)),
        ),
    ]
    return "\n".join(parts)


def _counts() -> str:
    typed = sum(_codec_of(type) == "typed" for type in MESSAGES.values())
    figures = (
        (len(MESSAGES), "messages of JT/T 808, 1078 and active safety"),
        (typed, "of them typed"),
        (len(ITEMS), "additional items"),
        (len(PARAMETERS), "parameters"),
        (len(PLATFORM_MESSAGES), "messages of JT/T 809"),
    )
    return "".join(f"- {count} {what}\n" for count, what in figures)


def _table(heads: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> str:
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    lines += [f"| {' | '.join(str(cell).replace('|', '/') for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _message(type: MessageType) -> tuple[str, ...]:
    layouts = len(type.layouts) + len(type.variants) - 1
    return (
        f"0x{type.id:04X}",
        type.chinese,
        type.name,
        _span(type.editions),
        _sender(type.direction),
        _codec_of(type) + (f" +{layouts}" if layouts else ""),
        f"0x{type.answer:04X}" if type.answer else "",
        "; ".join(_deeds(type)),
    )


def _deeds(type: MessageType) -> list[str]:
    """What gateway and worker do with it, by their own tables."""
    if type.direction is DOWN:
        if type.id in SENT:
            return [SENT[type.id]]
        return ["written and read; no process sends it yet"]
    return [f"logged, {ANSWERED[ANSWERS[type.id]]}", *_kept(type.id)]


def _kept(id: int) -> list[str]:
    if id in (worker.LOCATION, worker.BATCH_LOCATION, *worker.LOCATION_ANSWERS):
        return ["position, alarms, silence"]
    if id == worker.REGISTER:
        return ["terminal and edition stored"]
    return [] if id in worker.NOT_KEPT else ["message kept"]


def _codec_of(type: MessageType) -> str:
    return _codec(list(type.layouts.values())[-1])


def _codec(declaration: Construct) -> str:
    """Say whether fields are declared, or bytes kept."""
    while isinstance(declaration, Renamed):
        declaration = declaration.subcon
    if isinstance(declaration, Struct):
        codecs = {_codec(field) for field in declaration.subcons if field.name != "end"}
        return "empty" if not codecs else "raw" if codecs == {"raw"} else "typed"
    return "raw" if isinstance(declaration, _Hex) else "typed"


def _span(editions: tuple[str, ...]) -> str:
    values = [str(edition) for edition in editions]
    return values[0] if len(values) == 1 else f"{values[0]} to {values[-1]}"


def _sender(direction: str) -> str:
    return "terminal" if direction == UP else "platform"


def _profile(profile: Any) -> tuple[str, str, str]:
    return profile.name, profile.what, ", ".join(f"0x{id:02X}" for id in sorted(profile.items))


def _recorder_commands() -> list[tuple[str, str, str, str]]:
    by_id: dict[int, list[Any]] = {}
    for command in RECORDER_COMMANDS.values():
        by_id.setdefault(command.id, []).append(command)
    return [
        (
            f"{id:02X}H",
            commands[0].chinese,
            commands[0].name,
            " and ".join({UP: "from the recorder", DOWN: "to it"}[command.direction] for command in commands),
        )
        for id, commands in sorted(by_id.items())
    ]


def _parameters() -> list[tuple[str, ...]]:
    """One row for each parameter; neighbours of the same meaning in one."""
    rows: list[tuple[str, ...]] = []
    for parameter in sorted(PARAMETERS.values(), key=lambda parameter: parameter.id):
        editions = tuple(e for e in Edition if parameter.since <= e <= parameter.until)
        facts = (
            parameter.chinese,
            parameter.name,
            parameter.unit,
            _span(editions),
            _codec(parameter.declaration),
        )
        id = f"0x{parameter.id:04X}"
        if rows and rows[-1][1:] == facts:
            id = f"{rows.pop()[0].split(' ')[0]} to {id}"
        rows.append((id, *facts))
    return rows


def _platform_message(type: Any) -> tuple[str, ...]:
    layouts: Mapping[Any, Construct] = type.layouts
    group = GROUPS.get(type.id & 0xFF00)
    return (
        f"0x{type.id:04X}",
        type.chinese,
        type.name,
        f"0x{group.id:04X}" if group else "",
        _span(type.dialects),
        "subordinate" if type.direction == UP.value else "superior",
        _codec(list(layouts.values())[-1]),
        f"0x{type.answer:04X}" if type.answer else "",
    )


if __name__ == "__main__":
    print(page(), end="")

"""Write docs/configuration.md from the declarations in northwatch/config.py.

python docs/generate_configuration.py > docs/configuration.md
"""

from typing import Any

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from northwatch.config import NESTED, PREFIX, Group, Settings

HEAD = """# Configuration

Northwatch runs without any. What is to differ from the defaults stands in one TOML file, in the environment,
or both; the environment wins. The file is the one given by `--config`, else by `NORTHWATCH_CONFIG`, else
`northwatch.toml` in the working directory where it exists.

    # northwatch.toml
    data_dir = "/var/lib/northwatch"
    database_url = "postgresql://northwatch:secret@db.example/northwatch"

    [gateway]
    policy = "known"

is the same as

    NORTHWATCH_DATA_DIR=/var/lib/northwatch
    NORTHWATCH_DATABASE_URL=postgresql://northwatch:secret@db.example/northwatch
    NORTHWATCH_GATEWAY__POLICY=known

A key that does not exist or a value that is not allowed stops the start with code 2; the message names the
key, where it came from, the value, and what is allowed. `northwatch doctor` says what is in use.

This page is made from `northwatch/config.py` by `docs/generate_configuration.py`.
"""


def page() -> str:
    """Give the page as Markdown."""
    fields = Settings.model_fields
    plain = {name: field for name, field in fields.items() if not _is_group(field)}
    parts = [HEAD, _table("", plain)]
    for name, field in fields.items():
        if _is_group(field):
            group: type[BaseModel] = field.annotation  # type: ignore[assignment]
            about = " ".join((group.__doc__ or "").split())
            parts += [f"## [{name}]\n\n{about}\n", _table(name, group.model_fields)]
    return "\n".join(parts)


def _is_group(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, Group)


def _table(group: str, fields: dict[str, FieldInfo]) -> str:
    rows = ["| key | default | allowed | meaning |", "|---|---|---|---|"]
    for name, field in fields.items():
        variable = PREFIX + (f"{group}{NESTED}{name}" if group else name).upper()
        meaning = " ".join((field.description or "").split()).replace("|", "\\|")
        rows.append(f"| `{name}`<br>`{variable}` | {_value(field.default)} | {_allowed(field)} | {meaning} |")
    return "\n".join(rows) + "\n"


def _value(value: Any) -> str:
    if value is None or value in ("", ()):
        return "unset"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{[each if isinstance(each, str | float) else str(each) for each in value]}`"
    return f"`{value:g}`" if isinstance(value, float) and value < 1e6 else f"`{value}`"


def _allowed(field: FieldInfo) -> str:
    bounds = []
    for rule in field.metadata:
        match rule:
            case annotated_types.Ge(ge=low):
                bounds.append(f"≥ {low:g}" if isinstance(low, float) else f"≥ {low}")
            case annotated_types.Gt(gt=low):
                bounds.append(f"> {low}")
            case annotated_types.Le(le=high):
                bounds.append(f"≤ {high}")
    if bounds:
        return ", ".join(bounds)
    arguments = getattr(field.annotation, "__args__", ())
    if arguments and all(isinstance(choice, str) for choice in arguments):
        return " or ".join(f"`{choice}`" for choice in arguments)
    return "`true` or `false`" if field.annotation is bool else ""


if __name__ == "__main__":
    print(page(), end="")

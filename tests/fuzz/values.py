"""What every decoded value must be."""

import json
from typing import Any

from protocol.jsonl import to_json


def through_json(value: Any) -> Any:
    """Give a value as it comes back from JSON; it must be text that PostgreSQL stores as jsonb."""
    text = json.dumps(to_json(value), ensure_ascii=False, allow_nan=False)
    text.encode("utf-8")
    assert "\\u0000" not in text
    return json.loads(text)


def without_lengths(value: Any) -> Any:
    """Give a value without the lengths in it: of padded text they count the padding, of a frame whose length
    is wrong they say what was sent, and are computed anew when it is written."""
    if isinstance(value, dict):
        return {name: without_lengths(each) for name, each in value.items() if not name.endswith("length")}
    if isinstance(value, list):
        return [without_lengths(each) for each in value]
    return value

"""Texts that others wrote: terminals, imports, strangers. They are data, whatever characters stand in them.

Characters that are not seen can do something all the same: end a line, colour a screen, turn the direction of
writing, hide in a name that looks like another. Wherever a text meets people it goes through `visible`, and
where it becomes a name through `without_unseen`. What was received stays as it is in the log.
"""

import re
from typing import Final

UNSEEN: Final = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # control, C0 and C1: ESC, NUL, ends of lines
    "\u2028\u2029"  # ends of lines and paragraphs
    "\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"  # format: direction, width zero, marks, tags, selectors
    "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0"  # drawn as nothing
    "\ud800-\udfff"  # halves of letters
    "]"
)
"""Unicode's categories Cc, Cf, Cs, Zl and Zp, and what it says may be ignored when it is drawn."""

LINES: Final = re.compile(f"(?!\n){UNSEEN.pattern}")
"""The same but for the end of a line, in texts that people wrote in several."""


def visible(text: str, *, keep_lines: bool = False) -> str:
    """Give a text with each unseen character as a backslash escape: "\\x1b", "\\u202e"."""
    return (LINES if keep_lines else UNSEEN).sub(_escape, text)


def visible_json(text: str) -> str:
    """Give JSON that says the same, with unseen characters of its texts as JSON escapes; between the texts
    stands nothing unseen but the ends of lines."""
    return LINES.sub(_json_escape, text)


def without_unseen(text: str) -> str:
    """Give a text without its unseen characters."""
    return UNSEEN.sub("", text)


def _escape(found: re.Match[str]) -> str:
    number = ord(found[0])
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _json_escape(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))

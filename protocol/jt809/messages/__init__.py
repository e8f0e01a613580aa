"""The messages of JT/T 809, one file for each chapter of the standard.

To declare one, add a `message(…)` line to a file of this folder; the folder loads itself.
"""

from importlib import import_module
from pkgutil import iter_modules

from protocol.jt809.message import (
    GROUPS,
    MESSAGES,
    Direction,
    Envelope,
    Group,
    Link,
    MessageType,
    decode_body,
    decode_frame,
    encode_body,
)

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "GROUPS",
    "MESSAGES",
    "Direction",
    "Envelope",
    "Group",
    "Link",
    "MessageType",
    "decode_body",
    "decode_frame",
    "encode_body",
]

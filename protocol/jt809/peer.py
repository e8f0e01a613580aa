"""Another platform: what has been agreed with it, and how that reads and writes. Time is an argument."""

from dataclasses import dataclass
from typing import Any

from protocol.jt809.cipher import Keys, apply
from protocol.jt809.dialect import Dialect
from protocol.jt809.framing import VERSION, Frame, parse
from protocol.jt809.message import GROUPS, decode_frame, encode_body
from protocol.message import Undecodable


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer profile. Every superior platform has its own."""

    gnss_center_id: int
    """下级平台接入码: the number of the subordinate one of the two platforms."""
    dialect: Dialect = Dialect.V3
    keys: Keys | None = None
    """M1, IA1 and IC1, issued by the superior; without them encrypted bodies stay unread."""
    protocol_version: bytes = VERSION

    def read(self, plain: bytes) -> tuple[Frame, dict[str, Any] | Undecodable]:
        """Read a plain frame.

        Raises:
            FrameError: it is not valid.
        """
        frame = parse(plain, is_2019=self.dialect.is_2019)
        return frame, decode_frame(frame, self.dialect, self.keys)

    def write(
        self, id: int, fields: dict[str, Any], serial: int, now: float, *, encrypt_key: int | None = None
    ) -> bytes:
        """Give a message for the wire. With `encrypt_key` its body is encrypted.

        A sub-message (`id` 0x1202, say) is put in its envelope: its plate is `plate_number` and
        `plate_color` of `fields`, its own fields are `sub_body`.

        Raises:
            LocalProtocolError: the id is unknown, a field is missing or does not fit.
            ValueError: `encrypt_key` is given and the keys of this peer are not known.
        """
        frame_id = id & 0xFF00 if id & 0xFF00 in GROUPS else id
        body = encode_body(frame_id, self.dialect, {"sub_msg_id": id, **fields} if frame_id != id else fields)
        if encrypt_key is not None:
            if self.keys is None:
                raise ValueError("the body shall be encrypted, but the peer's M1, IA1 and IC1 are not known")
            body = apply(body, encrypt_key, self.keys)
        return Frame(
            frame_id,
            serial,
            self.gnss_center_id,
            body,
            self.protocol_version,
            encrypt_flag=int(encrypt_key is not None),
            encrypt_key=encrypt_key or 0,
            time=int(now) if self.dialect.is_2019 else None,
        ).encode()

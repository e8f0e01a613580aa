"""An attacker who has read the standard and nothing of ours: sound frames and requests, changed by chance.

Everything follows from a seed: the same one sends the same bytes in the same order on every machine, as far
as the answers are the same.
"""

import contextlib
import json
import random
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException

from tests.hostile import wire
from tests.hostile.attack import Target
from tests.hostile.link import Link

IDS = (0x0001, 0x0002, 0x0003, 0x0005, 0x0100, 0x0102, 0x0104, 0x0107, 0x0200, 0x0201, 0x0301, 0x0500, 0x0608)
MORE_IDS = (0x0700, 0x0701, 0x0702, 0x0704, 0x0705, 0x0800, 0x0801, 0x0802, 0x0805, 0x0900, 0x0901, 0x0A00)
ITEMS = (0x01, 0x02, 0x03, 0x04, 0x11, 0x12, 0x13, 0x14, 0x25, 0x2A, 0x2B, 0x30, 0x31, 0x64, 0x65, 0x66, 0xEB)
EDGES = (b"\0", b"\xff", b"\x7f", b"\x80", b"\x7e", b"\x7d", b"\x30", b"\x99", b"'", b"\x1b")
TEXTS = (
    "",
    "[/]",
    "\x1b[2J",
    "=1+1",
    "＝1",
    "\u202eA",
    "'; --",
    "%s{0}",
    "辽A",
    "\0",
    "a" * 5000,
    "-1",
    "1e999",
)
PIECE_BYTES = 900
LINK_PIECES = 40
ANSWER_WAIT_S = 0.05


class Attacker:
    """One client that makes trouble until its time is up."""

    def __init__(self, target: Target, seed: int, cookie: str, paths: dict[str, list[str]]) -> None:
        self._target = target
        self._chance = random.Random(seed)
        self._cookie = cookie
        self._paths = paths
        self._terminals = [self._number() for _ in range(20)]
        self._codes: dict[str, bytes] = {}
        self.did: Counter[str] = Counter()
        self.broken: list[str] = []
        """Answers that say that the service broke: 5xx other than "busy" or "starting"."""

    def run(self, until: float) -> None:
        """Attack until the monotonic clock says so."""
        ways: dict[Callable[[], None], int] = {self._talk: 2, self._storm: 1, self._ask: 2, self._half: 1}
        while time.monotonic() < until:
            (way,) = self._chance.choices(list(ways), list(ways.values()))
            self.did[way.__name__.strip("_")] += 1
            with contextlib.suppress(OSError, HTTPException, ValueError):
                way()

    # Terminals.

    def _number(self) -> str:
        return self._chance.choice(
            (
                f"13{self._chance.randrange(10**9):09}",
                f"{self._chance.randrange(10**20):020}",
                f"{self._chance.getrandbits(48):012X}",
                "0",
                "F" * 20,
            )
        )

    def _talk(self) -> None:
        """One link: some sound frames, some changed ones, in odd pieces, and an odd end."""
        chance = self._chance
        with self._target.connect(source=f"127.0.0.{chance.randrange(2, 250)}") as link:
            if chance.random() < 0.6:
                self._sign_in(link)
            for _ in range(chance.randrange(1, LINK_PIECES)):
                data = b"".join(self._frame() for _ in range(chance.choice((1, 1, 1, 5, 50))))
                if chance.random() < 0.4:
                    data = self._changed(data)
                for piece in self._pieces(data):
                    link.send(piece)
                    self.did["bytes"] += len(piece)
                if chance.random() < 0.5:
                    link.answers(chance.randrange(3), ANSWER_WAIT_S)
            if chance.random() < 0.3:  # a reset instead of an end
                link.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _sign_in(self, link: Link) -> None:
        terminal = self._chance.choice(self._terminals)
        is_2019 = len(terminal) > 12
        if terminal not in self._codes:
            plate = self._chance.choice((f"辽A{self._chance.randrange(10**5):05}", "[/]", "\x1b[31m", ""))
            body = wire.registration(plate)
            link.send(wire.frame(terminal, 0x0100, body, 1, is_2019=is_2019))
            for msg_id, _, result, rest in link.answers(1, 1.0):
                if msg_id == 0x8100 and result == 0:
                    self._codes[terminal] = rest
        code = self._codes.get(terminal, b"x")
        if self._chance.random() < 0.2:
            code = self._changed(code)
        link.send(wire.frame(terminal, 0x0102, code[:PIECE_BYTES], 2, is_2019=is_2019))

    def _frame(self) -> bytes:
        chance = self._chance
        terminal = chance.choice(self._terminals) if chance.random() < 0.95 else self._number()
        msg_id = chance.choice((0x0200, 0x0200, *IDS, *MORE_IDS, chance.getrandbits(16)))
        body = self._body(msg_id)[:PIECE_BYTES]
        fragment = None
        if chance.random() < 0.1:
            total = chance.choice((1, 2, 3, 50, 65535))
            fragment = (total, chance.choice((0, 1, 2, total, 65535)))
        is_2019 = len(terminal) > 12 or chance.random() < 0.2
        serial = chance.getrandbits(16)
        return wire.frame(terminal, msg_id, body, serial, is_2019=is_2019, fragment=fragment)

    def _body(self, msg_id: int) -> bytes:
        chance = self._chance
        if msg_id == 0x0200 or chance.random() < 0.1:
            bit = 1 << chance.randrange(32)
            word = chance.choice((0, 0, 1, 2, 3, bit, 0xFFFFFFFF, chance.getrandbits(32)))
            body = wire.location(
                alarm_bits=word,
                status_bits=chance.choice((3, 0, chance.getrandbits(32))),
                lat=chance.choice((41.8, 0.0, 90.0, chance.random() * 180)),
                lon=chance.choice((123.4, 0.0, 180.0, chance.random() * 360)),
            )
            return body + b"".join(self._item() for _ in range(chance.choice((0, 1, 3, 60))))
        if msg_id == 0x0704:
            reports = [self._body(0x0200)[:200] for _ in range(chance.choice((0, 1, 3, 4)))]
            head = struct.pack(">HB", chance.choice((len(reports), 0, 65535)), chance.choice((0, 1, 255)))
            return head + b"".join(struct.pack(">H", len(each)) + each for each in reports)
        size = chance.choice((0, 1, 2, 4, 8, 28, 36, 100, PIECE_BYTES))
        if chance.random() < 0.5:
            return chance.randbytes(size)
        return (chance.choice(EDGES) + chance.choice(EDGES)) * (size // 2)

    def _item(self) -> bytes:
        content = self._chance.randbytes(self._chance.choice((0, 1, 2, 4, 4, 8)))
        return bytes([self._chance.choice(ITEMS), len(content)]) + content

    def _changed(self, data: bytes) -> bytes:
        """Change bytes here and there: flipped, edges of ranges, left out, doubled, moved."""
        chance, changed = self._chance, bytearray(data)
        for _ in range(chance.choice((1, 1, 2, 10))):
            if not changed:
                break
            at = chance.randrange(len(changed))
            match chance.randrange(6):
                case 0:
                    changed[at] ^= 1 << chance.randrange(8)
                case 1:
                    changed[at : at + 1] = chance.choice(EDGES)
                case 2:
                    del changed[at : at + chance.randrange(1, 9)]
                case 3:
                    changed[at:at] = changed[at : at + chance.randrange(1, 60)]
                case 4:
                    del changed[at:]
                case _:
                    changed[at:at] = chance.randbytes(chance.randrange(1, 60))
        return bytes(changed)

    def _pieces(self, data: bytes) -> list[bytes]:
        if self._chance.random() < 0.8:
            return [data]
        size = self._chance.choice((1, 7, 100))
        return [data[at : at + size] for at in range(0, min(len(data), 200 * size), size)]

    def _storm(self) -> None:
        """Many links that say nothing, or half a frame, and go."""
        links = []
        try:
            for _ in range(self._chance.choice((5, 50, 200))):
                links.append(self._target.connect(source=f"127.0.0.{self._chance.randrange(2, 250)}"))
                if self._chance.random() < 0.5:
                    links[-1].send(self._frame()[: self._chance.randrange(1, 30)])
        finally:
            for each in links:
                each.close()

    # The web.

    def _ask(self) -> None:
        """One request: an address of the API or none, with odd parameters, an odd body, signed in or not."""
        chance = self._chance
        path = chance.choice(list(self._paths)) if chance.random() < 0.9 else "/" + chance.choice(TEXTS)
        method = chance.choice(self._paths.get(path, ["GET"]))
        for name in [each.partition("}")[0] for each in path.split("{")[1:]]:
            path = path.replace(f"{{{name}}}", self._quoted(chance.choice(("1", "0", "x", *TEXTS))))
        names = ("limit", "cursor", "from", "to", "search", "view", "format", "terminal", "condition", "at")
        asked = [(chance.choice(names), self._value()) for _ in range(chance.choice((0, 1, 1, 3)))]
        path += "?" + "&".join(f"{name}={self._quoted(value)}" for name, value in asked) if asked else ""
        connection = HTTPConnection("127.0.0.1", self._target.service.web_port, timeout=30)
        head = {"Origin": f"http://127.0.0.1:{self._target.service.web_port}"}
        if chance.random() < 0.8:
            head["Cookie"] = self._cookie
        body = None
        if method != "GET":
            head["Content-Type"] = chance.choice(("application/json", "application/json", "text/csv", "x"))
            body = json.dumps({chance.choice(names): self._value() for _ in range(3)}).encode()
            body = self._changed(body) if chance.random() < 0.3 else body
        try:
            connection.request(method, path[:4000] or "/", body, head)
            answer = connection.getresponse()
            answer.read(1 << 20)
        finally:
            connection.close()
        if answer.status >= 500 and answer.status != 503:
            self.broken.append(f"{method} {path[:300]} → {answer.status}")

    def _value(self) -> str:
        edges = ("1", "-1", "2026-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "NaN")
        return self._chance.choice((*edges, str(10**30), *TEXTS))

    def _quoted(self, value: str) -> str:
        return "".join(f"%{byte:02X}" for byte in value.encode("utf-8", "surrogatepass"))

    def _half(self) -> None:
        """A request that stops in the middle, or is none."""
        lines = ("GET /api/v1/me HTTP/1.1", "Host: x", f"Cookie: {self._cookie}", "X: " + "y" * 200, "", "")
        sound = "\r\n".join(lines).encode()
        with socket.create_connection(("127.0.0.1", self._target.service.web_port), 10) as link:
            link.sendall(self._changed(sound)[: self._chance.randrange(1, len(sound))])
            link.settimeout(ANSWER_WAIT_S)
            link.recv(4096)

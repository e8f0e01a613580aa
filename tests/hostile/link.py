"""One TCP link to the service, as an attacker or an honest terminal has it."""

import socket
from types import TracebackType

from tests.hostile import wire
from tests.hostile.service import PATIENCE_S


class Link:
    """A socket and what came over it. Use it as a context manager."""

    def __init__(self, port: int, *, source: str = "127.0.0.1") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S, (source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._held = b""
        self._serial = 0

    def __enter__(self) -> "Link":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self, timeout_s: float = PATIENCE_S) -> tuple[int, int, int, bytes]:
        """Return the next frame of the platform: message id, serial answered, result, rest.

        Raises:
            ConnectionError: the platform closed the link.
            TimeoutError: nothing came.
        """
        self.socket.settimeout(timeout_s)
        while True:
            inner, flag, rest = self._held.lstrip(b"\x7e").partition(b"\x7e")
            if flag and inner:
                self._held = rest
                return wire.answers(inner)
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("the platform closed the link")
            self._held += data

    def answers(self, count: int, timeout_s: float = PATIENCE_S) -> list[tuple[int, int, int, bytes]]:
        """Return so many frames of the platform, or those that came before it closed the link."""
        found = []
        try:
            for _ in range(count):
                found.append(self.answer(timeout_s))
        except (ConnectionError, TimeoutError):
            pass
        return found

    def ask(self, terminal: str, msg_id: int, body: bytes = b"") -> tuple[int, bytes]:
        """Send one message and return the result and the rest of what answers it."""
        self._serial += 1
        self.send(wire.frame(terminal, msg_id, body, self._serial))
        while True:
            _, serial, result, rest = self.answer()
            if serial == self._serial:
                return result, rest

    def sign_in(self, terminal: str, plate: str) -> None:
        """Register and authenticate, which must succeed."""
        result, code = self.ask(terminal, 0x0100, wire.registration(plate))
        assert result == 0, f"registration of {terminal}: {result}"
        result, _ = self.ask(terminal, 0x0102, code)
        assert result == 0, f"authentication of {terminal}: {result}"

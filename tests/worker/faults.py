"""Connections that break at a chosen step, as a dying server or a cut wire would break them."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import psycopg


class Fragile(psycopg.Connection[Any]):
    """Breaks at the exchange with the server whose number is `breaks_at`.

    With `after` the server has done what was asked, and the answer is lost: of a COMMIT nobody knows then
    whether it happened.
    """

    breaks_at = -1
    after = False
    exchanges = 0

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        self.exchanges += 1
        if self.exchanges == self.breaks_at and not self.after:
            self._break()
        result = super().wait(gen, *args, **kwargs)
        if self.exchanges == self.breaks_at:
            self._break()
        return result

    def _break(self) -> None:
        self.pgconn.finish()
        raise psycopg.OperationalError("the connection broke")


def ever_later(*, after: bool) -> Callable[[str], psycopg.Connection[Any]]:
    """Give a way to connect whose first connection breaks at the first exchange, the second at the
    second, …
    """
    steps: Iterator[int] = count(1)

    def connect(dsn: str) -> psycopg.Connection[Any]:
        connection = Fragile.connect(dsn, autocommit=True)
        connection.exchanges, connection.after = 0, after
        connection.breaks_at = next(steps)
        return connection

    return connect

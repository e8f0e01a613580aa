"""Where the gateway's copy of the fleet comes from: the database, asked every few seconds what changed."""

from typing import Any

import psycopg

from gateway.fleet import Enrolment, FleetNews, FleetTerminal
from store.fleet_copy import read_fleet

CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_MS = 10_000
"""A database that hangs must not keep the thread for ever; the copy simply stays older."""


class FleetSource:
    """Gives the fleet as the database has it, or what changed since an earlier answer.

    Raises:
        ConnectionError: the database does not answer.
        psycopg.Error: it answers something else.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: psycopg.Connection[Any] | None = None

    def __call__(self, horizon: str | None) -> FleetNews:
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
        try:
            entries, vehicles, following, version, enrolment = read_fleet(self._connection, horizon)
        except psycopg.Error:
            self._connection.close()
            raise
        terminals = {
            entry.identity: FleetTerminal(
                entry.known,
                entry.blocked,
                entry.plate or "",
                entry.plate_color or 0,
                entry.code_epoch,
                # 2013 is also what the database says of one that never registered.
                "" if entry.edition == "2013" else entry.edition,
                entry.registered,
                entry.speaks_without_code,
                entry.forgotten,
            )
            for entry in entries
        }
        plates = {number: (plate, color) for number, plate, color in vehicles}
        return FleetNews(terminals, plates, following, horizon is None, version, Enrolment(*enrolment))

    def _connect(self) -> psycopg.Connection[Any]:
        try:
            connection = psycopg.connect(
                self._dsn,
                connect_timeout=CONNECT_TIMEOUT_S,
                options=f"-c statement_timeout={STATEMENT_TIMEOUT_MS}",
                application_name="northwatch gateway",
            )
        except psycopg.OperationalError:
            raise ConnectionError("the database does not answer") from None
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ  # see `store.horizon`
        return connection

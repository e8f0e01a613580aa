"""What is in the database before a test: rows as the worker writes them."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

from psycopg.types.json import Jsonb

from store.select import Connection, Row

EVIDENCE = {
    "reason": {"code": "silent_moving", "params": {"silent_s": 1200, "allowed_s": 300}},
    "mode": "moving",
    "last_frames": ["7e02"],
}
T0 = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)


class Facts:
    """Makes rows, each with a sensible default for everything."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._count = 0

    async def tell(self) -> None:
        """Wake the monitors up, as the worker does after a transaction."""
        await self.connection.execute("SELECT pg_notify('northwatch_live', 'worker')")

    async def one(self, query: str, *parameters: Any) -> Row:
        """Run a statement and give its first row."""
        cursor = await self.connection.execute(query, parameters)  # type: ignore[call-overload]
        return cast(Row, await cursor.fetchone())

    async def terminal(self, identity: str | None = None, **values: Any) -> int:
        self._count += 1
        identity = identity or f"1390000{self._count:04}"
        row = await self.one(
            "INSERT INTO terminals (identity, authenticated_at) VALUES (%s, now()) RETURNING id", identity
        )
        for column, value in values.items():
            await self.one(f"UPDATE terminals SET {column} = %s WHERE id = %s RETURNING id", value, row["id"])
        return int(row["id"])

    async def vehicle(self, plate: str | None = None, plate_color: int = 2) -> int:
        self._count += 1
        row = await self.one(
            "INSERT INTO vehicles (plate, plate_color) VALUES (%s, %s) RETURNING id",
            plate or f"辽A{self._count:05}",
            plate_color,
        )
        return int(row["id"])

    async def installed(
        self, terminal_id: int, vehicle_id: int, at: datetime = T0, until: Any = None
    ) -> None:
        await self.connection.execute(
            "INSERT INTO installations (terminal_id, vehicle_id, installed_at, removed_at)"
            " VALUES (%s, %s, %s, %s)",
            (terminal_id, vehicle_id, at, until),
        )

    async def state(self, terminal_id: int, **values: Any) -> None:
        """Write the latest of a terminal, as the worker does every few seconds."""
        given = {"link": "open", "mode": "moving", "lat": 41.8, "lon": 123.4, "fix_at": T0, **values}
        columns = ", ".join(given)
        marks = ", ".join(["%s"] * len(given))
        updates = ", ".join(f"{column} = excluded.{column}" for column in given)
        await self.connection.execute(
            f"INSERT INTO terminal_states (terminal_id, {columns}) VALUES (%s, {marks})"  # type: ignore[arg-type]
            f" ON CONFLICT (terminal_id) DO UPDATE SET {updates}, updated_at = now()",
            (terminal_id, *given.values()),
        )

    async def alarm(self, terminal_id: int | None = None, **values: Any) -> int:
        terminal_id = terminal_id or await self.terminal()
        self._count += 1
        began_at = values.pop("began_at", T0 + timedelta(seconds=self._count))
        given = {
            "terminal_id": terminal_id,
            "condition": "emergency",
            "edition": "2013",
            "severity": 1,
            "ends": "by_operator",
            "began_at": began_at,
            "received_at": began_at,
            "last_seen_at": began_at,
            **values,
        }
        marks = ", ".join(["%s"] * len(given))
        row = await self.one(
            f"INSERT INTO alarms ({', '.join(given)}) VALUES ({marks}) RETURNING id", *given.values()
        )
        await self.connection.execute(
            "INSERT INTO alarm_changes (alarm_id, at, change) VALUES (%s, %s, 'raised')",
            (row["id"], began_at),
        )
        return int(row["id"])

    async def ticket(self, terminal_id: int | None = None, **values: Any) -> int:
        terminal_id = terminal_id or await self.terminal()
        given = {
            "terminal_id": terminal_id,
            "fault": "silent",
            "reason": "nothing received for 20 minutes, expected every 30 s",
            "evidence": Jsonb(EVIDENCE),
            "opened_at": T0,
            **values,
        }
        marks = ", ".join(["%s"] * len(given))
        row = await self.one(
            f"INSERT INTO tickets ({', '.join(given)}) VALUES ({marks}) RETURNING id", *given.values()
        )
        await self.connection.execute(
            "INSERT INTO ticket_changes (ticket_id, at, change) VALUES (%s, %s, 'opened')", (row["id"], T0)
        )
        return int(row["id"])

    async def quarantined(self, terminal_id: int | None = None, **values: Any) -> int:
        self._count += 1
        given = {
            "received_at": T0 + timedelta(seconds=self._count),
            "terminal_id": terminal_id,
            "peer": "203.0.113.7:40000",
            "reason": "bad_checksum",
            "raw": bytes.fromhex("7e0200ff7e"),
            "log_id": "00000000-0000-0000-0000-000000000001",
            "position": self._count,
            "ordinal": 0,
            **values,
        }
        marks = ", ".join(["%s"] * len(given))
        row = await self.one(
            f"INSERT INTO quarantine ({', '.join(given)}) VALUES ({marks}) RETURNING id", *given.values()
        )
        return int(row["id"])

    async def link_event(self, terminal_id: int, at: datetime, event: str, session: int) -> None:
        await self.connection.execute(
            "INSERT INTO link_events (terminal_id, at, event, session, peer) VALUES (%s, %s, %s, %s, %s)",
            (terminal_id, at, event, session, "203.0.113.7:40000"),
        )

    async def position(self, terminal_id: int, at: datetime, **values: Any) -> None:
        """A location report; its day must exist (`day`)."""
        self._count += 1
        given = {
            "terminal_id": terminal_id,
            "placed_at": at,
            "received_at": at,
            "body_hash": self._count,
            "latitude": _sent(values.pop("lat", 41.8), 1e6),
            "longitude": _sent(values.pop("lon", 123.4), 1e6),
            "mileage": _sent(values.pop("mileage_km", None), 10),
            "speed": _sent(values.pop("speed_kmh", 60.5), 10),
            "heading": 90,
            "altitude": 40,
            "alarm_bits": 0,
            "status_bits": 3,
            "msg_id": 0x0200,
            "serial": 1,
            "authenticated": True,
            "late": False,
            **values,
        }
        marks = ", ".join(["%s"] * len(given))
        await self.connection.execute(
            f"INSERT INTO position_records ({', '.join(given)}) VALUES ({marks})",  # type: ignore[arg-type]
            tuple(given.values()),
        )


def _sent(value: float | None, scale: float) -> int | None:
    """Give a number as a terminal sends it, in a column that has a sign."""
    return None if value is None else (round(value * scale) + (1 << 31)) % (1 << 32) - (1 << 31)

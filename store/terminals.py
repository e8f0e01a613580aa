"""What the worker learns about terminals: that they exist, what they say when they register, and their latest
state."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

from store.binary import Column, copy_in
from store.fleet import clean_plate
from store.refusals import Unacceptable
from store.times import from_us

Connection = psycopg.Connection[Any]

LINKS = ("closed", "open")
MODES = ("unknown", "moving", "parked", "asleep", "out_of_service", "deregistered")
"""How a number in a column is written in `terminal_states`."""

_ADD = """
INSERT INTO terminals (identity, first_seen_at) SELECT * FROM unnest(%s::text[], %s::timestamptz[]) ON
CONFLICT (identity) DO UPDATE SET first_seen_at = excluded.first_seen_at WHERE terminals.first_seen_at IS NULL
"""

_REGISTER = """
UPDATE terminals
   SET edition = %(edition)s, province_id = %(province_id)s, city_id = %(city_id)s,
       manufacturer_id = %(manufacturer_id)s, model = %(model)s, maker_terminal_id = %(maker_terminal_id)s,
       registered_plate = %(plate)s, registered_plate_color = %(plate_color)s, registered_at = %(at)s
 WHERE id = %(terminal_id)s
"""

_ADD_VEHICLE = (
    "INSERT INTO vehicles (plate, plate_color) VALUES (%(plate)s, %(plate_color)s) ON CONFLICT DO NOTHING"
)

# Both partners must be free: who is where is a person's decision as soon as there is a conflict.
_INSTALL = """
INSERT INTO installations (terminal_id, vehicle_id, installed_at)
SELECT %(terminal_id)s, id, %(at)s FROM vehicles WHERE plate = %(plate)s AND plate_color = %(plate_color)s
ON CONFLICT DO NOTHING
"""

_IS_BOUND = "SELECT FROM installations WHERE terminal_id = %(terminal_id)s AND removed_at IS NULL"

_STAGE_STATES = """
CREATE TEMPORARY TABLE IF NOT EXISTS staged_states (
    terminal_id integer, link integer, link_changed_at timestamptz, last_received_at timestamptz, mode
    integer, silent_since timestamptz, reported_at timestamptz, received_at timestamptz, lat double precision,
    lon double precision, fix_at timestamptz, speed_kmh real, heading_deg integer, altitude_m integer,
    alarm_bits bigint, status_bits bigint, mileage_km double precision
) ON COMMIT DELETE ROWS
"""

_STATE_COLUMNS = """
link_changed_at, last_received_at, silent_since, reported_at, received_at, lat, lon, fix_at, speed_kmh,
heading_deg, altitude_m, alarm_bits, status_bits, mileage_km
"""

_MERGE_STATES = f"""
INSERT INTO terminal_states (terminal_id, link, mode, {_STATE_COLUMNS}, updated_at)
SELECT terminal_id, (%(links)s::text[])[link + 1], (%(modes)s::text[])[mode + 1], {_STATE_COLUMNS}, now()
  FROM staged_states
ON CONFLICT (terminal_id) DO UPDATE
   SET (link, mode, {_STATE_COLUMNS}, updated_at)
     = (excluded.link, excluded.mode,
        {", ".join(f"excluded.{name.strip()}" for name in _STATE_COLUMNS.split(","))}, now())
"""

_US = {
    "authenticated_us": "t.authenticated_at",
    "link_changed_us": "s.link_changed_at",
    "heard_us": "s.last_received_at",
    "silent_since_us": "s.silent_since",
    "reported_us": "s.reported_at",
    "received_us": "s.received_at",
    "fix_us": "s.fix_at",
    "ticket_us": "k.opened_at",
}
_RECALL = f"""
SELECT t.id, t.identity, t.edition, s.link = 'open' AS linked, s.mode, s.lat, s.lon, s.speed_kmh,
       s.heading_deg, s.altitude_m, s.alarm_bits, s.status_bits, s.mileage_km,
       {", ".join(f"(extract(epoch FROM {at}) * 1000000)::bigint AS {name}" for name, at in _US.items())},
       (SELECT max(session) FROM link_events e WHERE e.terminal_id = t.id) AS session
  FROM terminals t
  LEFT JOIN terminal_states s ON s.terminal_id = t.id
  LEFT JOIN tickets k ON k.terminal_id = t.id AND k.fault = 'silent' AND k.closed_at IS NULL
 ORDER BY t.id
"""


@dataclass(frozen=True, slots=True)
class Registration:
    """What a terminal says of itself in 0x0100 (终端注册)."""

    terminal_id: int
    at_us: int
    edition: str
    province_id: int
    city_id: int
    manufacturer_id: str
    model: str
    maker_terminal_id: str
    plate: str
    """Empty where it names none."""
    plate_color: int


def ids(connection: Connection, identities: Sequence[str]) -> dict[str, int]:
    """Give the numbers of those identities that the database knows."""
    found = connection.execute(
        "SELECT identity, id FROM terminals WHERE identity = ANY(%s)", [list(identities)]
    )
    return dict(found.fetchall())


def add(connection: Connection, first_seen_us: dict[str, int]) -> None:
    """Enter terminals that appeared for the first time, in the caller's transaction."""
    seen = [from_us(us) for us in first_seen_us.values()]
    connection.execute(_ADD, [list(first_seen_us), seen])


def register(connection: Connection, registrations: Iterable[Registration], *, bind: bool) -> bool:
    """Write down what terminals said, in order, and say whether an installation changed.

    With `bind`, a plate fills vehicles and installations by itself where neither terminal nor vehicle has a
    partner.
    """
    bound = False
    for each in registrations:
        plate = clean(each.plate)
        values = {
            "terminal_id": each.terminal_id,
            "at": from_us(each.at_us),
            "edition": each.edition,
            "province_id": each.province_id,
            "city_id": each.city_id,
            "manufacturer_id": clean(each.manufacturer_id),
            "model": clean(each.model),
            "maker_terminal_id": clean(each.maker_terminal_id),
            "plate": plate,
            "plate_color": each.plate_color,
        }
        connection.execute(_REGISTER, values)
        # Without a plate colour the text is a VIN (JT/T 808-2013 table 7), which names no vehicle on our
        # screens.
        if bind and each.plate_color:
            bound |= _bind(connection, plate, values)
    return bound


def _bind(connection: Connection, plate: str, values: dict[str, Any]) -> bool:
    try:
        values = {**values, "plate": clean_plate(plate)}
    except Unacceptable:
        return False
    if connection.execute(_IS_BOUND, values).rowcount:
        return False
    connection.execute(_ADD_VEHICLE, values)
    return connection.execute(_INSTALL, values).rowcount > 0


def set_edition(connection: Connection, editions: dict[int, str]) -> None:
    """Write down by which edition terminals speak."""
    connection.execute(
        "UPDATE terminals SET edition = said.edition"
        " FROM unnest(%s::integer[], %s::text[]) AS said (id, edition)"
        " WHERE terminals.id = said.id AND terminals.edition <> said.edition",
        [list(editions), list(editions.values())],
    )


def set_authenticated(connection: Connection, at_us: dict[int, int]) -> None:
    """Write down when terminals last authenticated."""
    connection.execute(
        "UPDATE terminals SET authenticated_at = said.at"
        " FROM unnest(%s::integer[], %s::timestamptz[]) AS said (id, at) WHERE terminals.id = said.id",
        [list(at_us), [from_us(us) for us in at_us.values()]],
    )


def put_states(connection: Connection, columns: Sequence[Column]) -> None:
    """Replace the latest state of terminals; `link` and `mode` are numbers of `LINKS` and `MODES`."""
    connection.execute(_STAGE_STATES)
    connection.execute("DELETE FROM staged_states")
    copy_in(connection, "staged_states", columns)
    connection.execute(_MERGE_STATES, {"links": list(LINKS), "modes": list(MODES)})


def clean(text: str) -> str:
    """Take out of a terminal's text what PostgreSQL cannot keep."""
    return text.replace("\0", "").encode("utf-8", "replace").decode().strip()


def blocked(connection: Connection) -> set[int]:
    """Give the terminals that a person has blocked."""
    return {row[0] for row in connection.execute("SELECT id FROM terminals WHERE blocked")}


def recall(connection: Connection) -> list[dict[str, Any]]:
    """Give what is known of every terminal, for a worker that lost its own memory. Times are µs since
    1970.
    """
    with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_RECALL).fetchall()

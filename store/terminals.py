"""What the worker learns about terminals: that they exist, what they say when they register, and their latest
state."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg.rows import dict_row

from store.binary import Column, copy_in
from store.fleet import clean_plate
from store.refusals import Unacceptable
from store.text import UNSEEN, without_unseen
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
   SET edition = said.edition, province_id = said.province_id, city_id = said.city_id,
       manufacturer_id = said.manufacturer_id, model = said.model,
       maker_terminal_id = said.maker_terminal_id, registered_plate = said.plate,
       registered_plate_color = said.plate_color, registered_at = said.at
  FROM unnest(%(terminal_id)s::integer[], %(at)s::timestamptz[], %(edition)s::text[],
              %(province_id)s::integer[], %(city_id)s::integer[], %(manufacturer_id)s::text[],
              %(model)s::text[], %(maker_terminal_id)s::text[], %(plate)s::text[],
              %(plate_color)s::smallint[])
       AS said (terminal_id, at, edition, province_id, city_id, manufacturer_id, model, maker_terminal_id,
                plate, plate_color)
 WHERE terminals.id = said.terminal_id
"""

_SAID_PLATES = "unnest(%(plate)s::text[], %(plate_color)s::smallint[]) AS said (plate, plate_color)"
_ADD_VEHICLES = (
    f"INSERT INTO vehicles (plate, plate_color) SELECT * FROM {_SAID_PLATES} ON CONFLICT DO NOTHING"
)
_INSTALL = """
INSERT INTO installations (terminal_id, vehicle_id, installed_at)
SELECT said.terminal_id, v.id, said.at
  FROM unnest(%(terminal_id)s::integer[], %(plate)s::text[], %(plate_color)s::smallint[],
              %(at)s::timestamptz[]) AS said (terminal_id, plate, plate_color, at)
  JOIN vehicles v ON (v.plate, v.plate_color) = (said.plate, said.plate_color)
ON CONFLICT DO NOTHING
"""

_BOUND = "SELECT terminal_id FROM installations WHERE terminal_id = ANY(%s) AND removed_at IS NULL"
_TAKEN = f"""
SELECT v.plate, v.plate_color
  FROM {_SAID_PLATES}
  JOIN vehicles v ON (v.plate, v.plate_color) = (said.plate, said.plate_color)
  JOIN installations i ON i.vehicle_id = v.id AND i.removed_at IS NULL
"""

_STAGE_STATES = """
CREATE TEMPORARY TABLE IF NOT EXISTS staged_states (
    terminal_id integer, link integer, link_changed_at timestamptz, last_received_at timestamptz, mode
    integer, silent_since timestamptz, reported_at timestamptz, received_at timestamptz, lat double precision,
    lon double precision, fix_at timestamptz, speed_kmh real, heading_deg integer, altitude_m integer,
    alarm_bits bigint, status_bits bigint, mileage_km double precision, without_code_at timestamptz,
    without_code bigint
) ON COMMIT DELETE ROWS
"""

_STATE_COLUMNS = """
link_changed_at, last_received_at, silent_since, reported_at, received_at, lat, lon, fix_at, speed_kmh,
heading_deg, altitude_m, alarm_bits, status_bits, mileage_km, without_code_at, without_code
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
    "without_code_us": "s.without_code_at",
    "ticket_us": "k.opened_at",
}
_RECALL = f"""
SELECT DISTINCT ON (t.id)
       t.id, t.identity, t.edition, s.link = 'open' AS linked, s.mode, s.lat, s.lon, s.speed_kmh,
       s.heading_deg, s.altitude_m, s.alarm_bits, s.status_bits, s.mileage_km,
       s.without_code, t.speaks_without_code, t.forgotten, k.fault,
       {", ".join(f"(extract(epoch FROM {at}) * 1000000)::bigint AS {name}" for name, at in _US.items())},
       (SELECT max(session) FROM link_events e WHERE e.terminal_id = t.id) AS session
  FROM terminals t
  LEFT JOIN terminal_states s ON s.terminal_id = t.id
  LEFT JOIN tickets k ON k.terminal_id = t.id AND k.fault IN ('silent', 'without_code')
                     AND k.closed_at IS NULL
 ORDER BY t.id, k.opened_at DESC
"""


_PLATE: Final = re.compile("[0-9A-Z\u4e00-\u9fff-]+")
"""GA 36-2018: Chinese characters, Latin letters and digits; some write a hyphen."""


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


def register(connection: Connection, registrations: Sequence[Registration], *, bind: bool) -> bool:
    """Write down what terminals said, in order, and say whether an installation changed.

    With `bind`, a plate fills vehicles and installations by itself where neither terminal nor vehicle has a
    partner.
    """
    if not registrations:
        return False
    said = [_values(each) for each in {each.terminal_id: each for each in registrations}.values()]
    connection.execute(_REGISTER, _columns(said))
    return bind and _bind(connection, registrations)


def _values(said: Registration) -> dict[str, Any]:
    return {
        "terminal_id": said.terminal_id,
        "at": from_us(said.at_us),
        "edition": said.edition,
        "province_id": said.province_id,
        "city_id": said.city_id,
        "manufacturer_id": clean(said.manufacturer_id),
        "model": clean(said.model),
        "maker_terminal_id": clean(said.maker_terminal_id),
        "plate": clean(said.plate),
        "plate_color": said.plate_color,
    }


def _bind(connection: Connection, registrations: Sequence[Registration]) -> bool:
    """Install whoever names a plate. Both partners must be free: who is where is a person's decision as soon
    as there is a conflict.
    """
    bound = {row[0] for row in connection.execute(_BOUND, [[each.terminal_id for each in registrations]])}
    wishes = [wish for each in registrations if each.terminal_id not in bound and (wish := _wish(each))]
    if not wishes:
        return False
    taken = set(connection.execute(_TAKEN, _columns(wishes)).fetchall())
    named, installed = list[dict[str, Any]](), list[dict[str, Any]]()
    for wish in wishes:
        vehicle = wish["plate"], wish["plate_color"]
        if wish["terminal_id"] in bound:
            continue  # since an earlier registration of its own
        named.append(wish)
        if vehicle not in taken:
            installed.append(wish)
            bound.add(wish["terminal_id"])
            taken.add(vehicle)
    connection.execute(_ADD_VEHICLES, _columns(named))
    return bool(installed) and connection.execute(_INSTALL, _columns(installed)).rowcount > 0


def _wish(said: Registration) -> dict[str, Any] | None:
    """Give what a registration says, with the plate as vehicles have it; nothing if it names none.

    Without a plate colour the text is a VIN (JT/T 808-2013 table 7), which names no vehicle on our screens.
    What has other letters than a plate stays what a terminal said.
    """
    if not said.plate_color or UNSEEN.search(said.plate.strip("\0")):
        return None
    values = _values(said)
    try:
        plate = clean_plate(values["plate"])
    except Unacceptable:
        return None
    return values | {"plate": plate} if _PLATE.fullmatch(plate) else None


def _columns(said: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """Give one list for each value."""
    return {name: [each[name] for each in said] for name in said[0]}


def set_edition(connection: Connection, editions: dict[int, str]) -> None:
    """Write down by which edition terminals speak."""
    connection.execute(
        "UPDATE terminals SET edition = said.edition"
        " FROM unnest(%s::integer[], %s::text[]) AS said (id, edition)"
        " WHERE terminals.id = said.id AND terminals.edition <> said.edition",
        [list(editions), list(editions.values())],
    )


def remember(connection: Connection, terminals: Sequence[int]) -> None:
    """Write down that terminals which were forgotten have been heard again, by `terminals.id`."""
    connection.execute("UPDATE terminals SET forgotten = false WHERE id = ANY(%s)", [list(terminals)])


def set_authenticated(connection: Connection, at_us: dict[int, int]) -> None:
    """Write down when terminals last authenticated."""
    connection.execute(
        "UPDATE terminals SET authenticated_at = said.at,"
        " first_authenticated_at = coalesce(first_authenticated_at, said.at)"
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
    """Take out of a terminal's text what is not seen, and with it what PostgreSQL cannot keep."""
    return without_unseen(text).strip()


def recall(connection: Connection) -> list[dict[str, Any]]:
    """Give what is known of every terminal, for a worker that lost its own memory. Times are µs since
    1970.
    """
    with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_RECALL).fetchall()

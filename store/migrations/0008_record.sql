-- The record's rules: legal holds, and how rows are found that have been kept long enough.

-- What is held (封存) survives its retention: somebody may have to prove what happened.
CREATE TABLE holds (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    vehicle_id integer NOT NULL REFERENCES vehicles,
    begins_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    reason text NOT NULL CHECK (reason <> ''),
    placed_by text NOT NULL,
    placed_at timestamptz NOT NULL DEFAULT now(),
    released_by text,
    released_at timestamptz,
    CHECK (begins_at < ends_at),
    CHECK ((released_by IS NULL) = (released_at IS NULL))
);
CREATE INDEX holds_in_force ON holds (vehicle_id, begins_at) WHERE released_at IS NULL;

-- Whose rows are held, and of which time. A terminal that was in the vehicle at any time of the hold is held for all
-- of it: who was installed when is what people wrote down, and may be what is in dispute.
CREATE VIEW held_terminals AS
SELECT h.id AS hold_id, i.terminal_id, h.begins_at, h.ends_at
  FROM holds h
  JOIN installations i ON i.vehicle_id = h.vehicle_id
   AND i.installed_at < h.ends_at AND coalesce(i.removed_at, 'infinity') >= h.begins_at
 WHERE h.released_at IS NULL;

CREATE INDEX messages_by_time ON messages (received_at);
CREATE INDEX link_events_by_time ON link_events (at);

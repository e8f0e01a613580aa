-- Derived facts: what a terminal's fixes say about its days. Made by the keeper, and made again when late data
-- changes what they were made of. A day is one of Beijing's (GMT+8), as on the wire and in the authority's sheets.

-- A leg 行程/停车: an uninterrupted time in which the vehicle drove, or stood. Midnight ends it,
-- at the first fix of the new day.
CREATE TABLE legs (
    terminal_id integer NOT NULL REFERENCES terminals,
    began_at timestamptz NOT NULL,
    last_fix_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL,            -- the next fix, or its own last one where a gap follows
    day date NOT NULL,
    kind text NOT NULL CHECK (kind IN ('trip', 'stop')),
    fixes integer NOT NULL,
    began_lat double precision NOT NULL,
    began_lon double precision NOT NULL,
    ended_lat double precision NOT NULL,
    ended_lon double precision NOT NULL,
    driving_s real NOT NULL,                  -- moving, between fixes no more than a gap apart
    driving_night_s real NOT NULL,            -- of it between 22:00 and 06:00
    track_km real NOT NULL,                   -- along the fixes
    gap_km real NOT NULL,                     -- from its last fix to the next one, where that came after a gap
    odometer_km real NOT NULL,                -- by the terminal's own mileage
    max_speed_kmh real NOT NULL,
    PRIMARY KEY (terminal_id, began_at)
);
CREATE INDEX legs_by_day ON legs (day, terminal_id);

CREATE TABLE terminal_days (
    terminal_id integer NOT NULL REFERENCES terminals,
    day date NOT NULL,
    fixes integer NOT NULL DEFAULT 0,
    first_fix_at timestamptz,
    last_fix_at timestamptz,
    trips integer NOT NULL DEFAULT 0,
    stops integer NOT NULL DEFAULT 0,
    driving_s real NOT NULL DEFAULT 0,
    driving_night_s real NOT NULL DEFAULT 0,
    track_km real NOT NULL DEFAULT 0,
    gap_km real NOT NULL DEFAULT 0,
    odometer_km real NOT NULL DEFAULT 0,
    max_speed_kmh real NOT NULL DEFAULT 0,
    online_s real NOT NULL DEFAULT 0,         -- with an open link
    PRIMARY KEY (terminal_id, day)
);
CREATE INDEX terminal_days_by_day ON terminal_days (day);

-- How far each terminal's fixes have become legs.
CREATE TABLE leg_cursors (
    terminal_id integer PRIMARY KEY REFERENCES terminals,
    anchor_at timestamptz NOT NULL,           -- from here on legs may still change by what comes in order
    received_at timestamptz NOT NULL          -- of the newest report that was there the last time
) WITH (fillfactor = 70);

-- Written by the worker with every late report. Rows are only added there and only removed by the keeper, so
-- neither waits for the other.
CREATE TABLE stale_days (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    terminal_id integer NOT NULL,
    at timestamptz NOT NULL                   -- of the earliest late report of its day
);

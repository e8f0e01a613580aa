-- What the worker derives from the log, all of it in the transaction that moves the cursor.

-- How far each log has been read. A log has a UUID, so a cursor never meets another log's positions.
CREATE TABLE cursors (
    log_id uuid PRIMARY KEY,
    position bigint NOT NULL,
    log_time timestamptz NOT NULL,            -- receive time of the last record read
    moved_at timestamptz NOT NULL DEFAULT now()
);

-- Unreadable input, as received, with the reason. (log_id, position, ordinal) makes a replay change nothing.
CREATE TABLE quarantine (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at timestamptz NOT NULL,
    terminal_id integer REFERENCES terminals,
    peer text NOT NULL DEFAULT '',
    msg_id integer,
    reason text NOT NULL,                     -- a short stable name, see protocol.errors and worker
    detail text NOT NULL DEFAULT '',
    raw bytea NOT NULL,
    log_id uuid NOT NULL,
    position bigint NOT NULL,
    ordinal integer NOT NULL,
    UNIQUE (log_id, position, ordinal)
);
CREATE INDEX quarantine_by_time ON quarantine (received_at DESC);

-- The latest of every terminal, refreshed by the worker every few seconds for those that changed.
CREATE TABLE terminal_states (
    terminal_id integer PRIMARY KEY REFERENCES terminals,
    link text NOT NULL DEFAULT 'closed' CHECK (link IN ('open', 'closed')),
    link_changed_at timestamptz,
    last_received_at timestamptz,             -- of anything
    mode text NOT NULL DEFAULT 'unknown' CHECK (mode IN ('unknown', 'moving', 'parked', 'asleep', 'out_of_service', 'deregistered')),
    silent_since timestamptz,                 -- set while the offline judgement says: should have reported, did not
    reported_at timestamptz,                  -- of the newest plausible location report
    received_at timestamptz,
    lat double precision,                     -- of the newest fix
    lon double precision,
    fix_at timestamptz,
    speed_kmh real,
    heading_deg integer,
    altitude_m integer,
    alarm_bits bigint NOT NULL DEFAULT 0,
    status_bits bigint NOT NULL DEFAULT 0,
    mileage_km real,
    updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 60);

-- Link events: the evidence for every question about who was connected when.
CREATE TABLE link_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    terminal_id integer NOT NULL REFERENCES terminals,
    at timestamptz NOT NULL,
    event text NOT NULL,                      -- opened, peer_closed, taken_over, idle, deregistered, stopping, ...
    session bigint NOT NULL,
    peer text NOT NULL DEFAULT '',
    UNIQUE (session, event)
);
CREATE INDEX link_events_by_terminal ON link_events (terminal_id, at DESC);

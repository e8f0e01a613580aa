-- One condition is one alarm, from its start to its end; what the desk did with it stands beside.

CREATE TABLE alarms (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    terminal_id integer NOT NULL REFERENCES terminals,
    vehicle_id integer REFERENCES vehicles,   -- bound when it was raised
    condition text NOT NULL,                  -- 'emergency', 'overspeed', ...: protocol.alarms names
    object text NOT NULL DEFAULT '',          -- area, route, wheel, channel where the item names one
    edition text NOT NULL,
    severity smallint NOT NULL CHECK (severity BETWEEN 1 AND 4),  -- 1 emergency, 2 urgent, 3 warning, 4 notice
    ends text NOT NULL CHECK (ends IN ('by_terminal', 'by_operator')),  -- latched bits · answer-cleared bits
    late boolean NOT NULL DEFAULT false,      -- first revealed by late data
    on_desk boolean NOT NULL DEFAULT true,    -- false: history only
    began_at timestamptz NOT NULL,            -- device time of the first report with it
    received_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,        -- device time of the newest report with it
    ended_at timestamptz,                     -- device time of the report that no longer had it, or when handled
    reports integer NOT NULL DEFAULT 1,       -- times raised while open
    lat double precision,
    lon double precision,
    speed_kmh real,
    -- the desk
    taken_by integer REFERENCES users,
    taken_at timestamptz,
    handled_by integer REFERENCES users,
    handled_at timestamptz,
    result text CHECK (result IN ('real', 'false_alarm', 'test', 'other')),
    note text NOT NULL DEFAULT '',
    CHECK (ended_at IS NULL OR ended_at >= began_at),
    CHECK ((handled_at IS NULL) = (result IS NULL))
);
CREATE UNIQUE INDEX one_open_alarm_per_key ON alarms (terminal_id, condition, object) WHERE ended_at IS NULL;
CREATE UNIQUE INDEX one_alarm_per_start ON alarms (terminal_id, condition, object, began_at);
CREATE INDEX alarms_on_desk ON alarms (severity, began_at DESC) WHERE handled_at IS NULL AND on_desk;
CREATE INDEX alarms_by_time ON alarms (began_at DESC);
CREATE INDEX alarms_by_terminal ON alarms (terminal_id, began_at DESC);

CREATE TABLE alarm_changes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alarm_id bigint NOT NULL REFERENCES alarms,
    at timestamptz NOT NULL,
    change text NOT NULL,                     -- raised, raised_again, ended, taken, released, handled
    user_id integer REFERENCES users,
    detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX alarm_changes_by_alarm ON alarm_changes (alarm_id, id);

-- Every answered location report, with or without a fix, is one row here or one row of quarantine.
-- The table is divided by placed_at (store.placement makes it a hypertable, or native partitions of a day).

CREATE TABLE positions (
    terminal_id integer NOT NULL,
    placed_at timestamptz NOT NULL,           -- reported_at where that is plausible, else received_at
    reported_at timestamptz,                  -- the terminal's clock; null where its six bytes are no time
    reported_raw bytea NOT NULL,              -- those six bytes
    received_at timestamptz NOT NULL,         -- of the first copy
    body_hash bigint NOT NULL,                -- XXH3-64 of the location body with its items
    copies integer NOT NULL DEFAULT 1,        -- equal reports received
    last_received_at timestamptz NOT NULL,
    lat double precision,                     -- WGS-84 degrees; null without a fix (status bit 1)
    lon double precision,
    speed_kmh real NOT NULL,
    heading_deg smallint NOT NULL,
    altitude_m smallint NOT NULL,
    alarm_bits bigint NOT NULL,
    status_bits bigint NOT NULL,
    mileage_km double precision,              -- item 0x01
    items bytea,                              -- the additional items as received
    msg_id integer NOT NULL,                  -- 512 or 1796
    serial integer NOT NULL,
    authenticated boolean NOT NULL,
    late boolean NOT NULL,
    quality integer NOT NULL DEFAULT 0,       -- store.quality bits: what is doubtful about it
    UNIQUE (terminal_id, placed_at, reported_raw, body_hash)
) PARTITION BY RANGE (placed_at);

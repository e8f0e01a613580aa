-- Every answered location report, with or without a fix, is one row here or one row of quarantine.
-- The columns stand by width, widest first, because alignment would otherwise waste a tenth of every row.

CREATE TABLE position_columns (
    placed_at timestamptz NOT NULL,           -- reported_at where that is plausible, else received_at; divides the table
    reported_at timestamptz,                  -- the terminal's clock; null where its six bytes are no time
    received_at timestamptz NOT NULL,         -- of the first copy
    last_received_at timestamptz NOT NULL,
    body_hash bigint NOT NULL,                -- XXH3-64 of the location body, its time and its items
    lat double precision,                     -- WGS-84 degrees as sent, with a fix (status bit 1) or without
    lon double precision,
    alarm_bits bigint NOT NULL,
    status_bits bigint NOT NULL,
    mileage_km double precision,              -- item 0x01
    terminal_id integer NOT NULL,
    copies integer NOT NULL DEFAULT 1,        -- equal reports received
    speed_kmh real NOT NULL,
    heading_deg integer NOT NULL,
    altitude_m integer NOT NULL,
    msg_id integer NOT NULL,                  -- 512 or 1796
    serial integer NOT NULL,
    quality integer NOT NULL DEFAULT 0,       -- store.quality bits: what is doubtful about it
    authenticated boolean NOT NULL,
    late boolean NOT NULL,
    reported_raw bytea NOT NULL,              -- the six bytes of the terminal's clock
    items bytea,                              -- the additional items as received
    UNIQUE (terminal_id, placed_at, body_hash)
);

-- Where the clock is wrong, equal reports are placed by receipt and so differ in placed_at: this finds them.
CREATE INDEX positions_of_wrong_clocks ON position_columns (terminal_id, body_hash)
    WHERE reported_at IS DISTINCT FROM placed_at;

-- A hypertable where TimescaleDB is installed, else native partitions: a day each, made by store.placement.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        CREATE TABLE positions (LIKE position_columns INCLUDING ALL);
        PERFORM create_hypertable('positions', 'placed_at',
            chunk_time_interval => interval '1 day', create_default_indexes => false);
    ELSE
        CREATE TABLE positions (LIKE position_columns INCLUDING ALL) PARTITION BY RANGE (placed_at);
    END IF;
END
$$;

DROP TABLE position_columns;

-- Positions are stored as they are sent, in the widths of the standard, and read in the units of people: the table
-- `position_records` and the view `positions`. Whole numbers compress to a third of what floating point numbers take.
--
-- A DWORD or WORD of the standard has no sign, and a column of PostgreSQL has: they hold the same bits. What is the same
-- for nearly every report (it was received once, its clock was believed) is null. Columns stand by width, widest first.

CREATE TABLE position_columns (
    placed_at timestamptz NOT NULL,           -- reported_at where that is plausible, else received_at; divides the table
    received_at timestamptz NOT NULL,         -- of the first copy
    reported_at timestamptz,                  -- with reported_raw alone: the terminal's clock; null: no time
    last_received_at timestamptz,             -- null: there is one copy
    terminal_id integer NOT NULL,
    body_hash integer NOT NULL,               -- of the location body, its time and its items: see store.positions
    alarm_bits integer NOT NULL,              -- DWORD
    status_bits integer NOT NULL,             -- DWORD
    latitude integer,                         -- DWORD, 1e-6 degrees; the hemisphere is bit 2 of the status …
    longitude integer,                        -- DWORD, 1e-6 degrees; … and bit 3
    mileage integer,                          -- DWORD, 0.1 km, of an item 0x01 that stands first: it is not in items
    mileage_inside integer,                   -- … of one that stands elsewhere
    copies integer,                           -- equal reports received; null: one
    altitude smallint NOT NULL,               -- WORD, m
    speed smallint NOT NULL,                  -- WORD, 0.1 km/h
    heading smallint NOT NULL,                -- WORD, degrees
    msg_id smallint NOT NULL,
    serial smallint NOT NULL,                 -- WORD
    quality smallint NOT NULL DEFAULT 0,
    authenticated boolean NOT NULL,
    late boolean NOT NULL,
    reported_raw bytea,                       -- the six bytes of the clock; null: they say placed_at
    items bytea,                              -- as sent, but for a leading item 0x01
    UNIQUE (terminal_id, placed_at, body_hash)
);

-- Where the clock is wrong, equal reports are placed by receipt and so differ in placed_at: this finds them.
CREATE INDEX records_of_wrong_clocks ON position_columns (terminal_id, body_hash) WHERE reported_raw IS NOT NULL;

ALTER TABLE positions RENAME TO positions_before;

DO $$
DECLARE
    day record;
    hours_before text;
    hours_now text;
BEGIN
    IF EXISTS (SELECT FROM pg_class WHERE oid = 'positions_before'::regclass AND relkind = 'r') THEN
        CREATE TABLE position_records (LIKE position_columns INCLUDING ALL);
        PERFORM create_hypertable('position_records', 'placed_at',
            chunk_time_interval => interval '1 day', create_default_indexes => false);
    ELSE
        CREATE TABLE position_records (LIKE position_columns INCLUDING ALL) PARTITION BY RANGE (placed_at);
        FOR day IN
            SELECT right(c.relname, 8) AS name, to_date(right(c.relname, 8), 'YYYYMMDD') AS utc
              FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid
             WHERE inhparent = 'positions_before'::regclass
        LOOP
            EXECUTE format('CREATE TABLE %I PARTITION OF position_records FOR VALUES FROM (%L) TO (%L)',
                'position_records_' || day.name, day.utc || ' 00:00:00+00', day.utc + 1 || ' 00:00:00+00');
        END LOOP;
    END IF;

    INSERT INTO position_records
    SELECT placed_at, received_at,
           CASE WHEN reported_at IS DISTINCT FROM placed_at THEN reported_at END,
           CASE WHEN copies > 1 THEN last_received_at END,
           terminal_id, (body_hash & 268435455)::integer,
           alarm_bits::bit(32)::integer, status_bits::bit(32)::integer,
           round(abs(lat) * 1e6)::bigint::bit(32)::integer, round(abs(lon) * 1e6)::bigint::bit(32)::integer,
           CASE WHEN leads THEN round(mileage_km * 10)::bigint::bit(32)::integer END,
           CASE WHEN NOT leads THEN round(mileage_km * 10)::bigint::bit(32)::integer END, nullif(copies, 1),
           (altitude_m + 32768) % 65536 - 32768, (round(speed_kmh * 10)::integer + 32768) % 65536 - 32768,
           (heading_deg + 32768) % 65536 - 32768, msg_id, (serial + 32768) % 65536 - 32768, quality,
           authenticated, late, CASE WHEN reported_at IS DISTINCT FROM placed_at THEN reported_raw END,
           CASE WHEN NOT leads THEN items WHEN length(items) > 6 THEN substr(items, 7) END
      FROM positions_before, LATERAL (
           SELECT mileage_km IS NOT NULL AND length(items) >= 6 AND substr(items, 1, 2) = '\x0104' IS TRUE) i (leads)
        ON CONFLICT (terminal_id, placed_at, body_hash) DO NOTHING;

    -- The aggregate of TimescaleDB is made anew over the new table; hours whose positions are gone are kept.
    IF EXISTS (SELECT FROM pg_class WHERE oid = 'terminal_hours'::regclass AND relkind = 'v') THEN
        SELECT format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name) INTO hours_before
          FROM timescaledb_information.continuous_aggregates
         WHERE view_schema = current_schema() AND view_name = 'terminal_hours';
        EXECUTE 'CREATE TEMPORARY TABLE kept_hours ON COMMIT DROP AS SELECT * FROM ' || hours_before;
        DROP MATERIALIZED VIEW terminal_hours;
        CREATE MATERIALIZED VIEW terminal_hours
            WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
        SELECT terminal_id, time_bucket(interval '1 hour', placed_at) AS hour,
               count(*) AS reports, sum(coalesce(copies, 1)) AS copies,
               count(*) FILTER (WHERE late) AS late,
               count(*) FILTER (WHERE quality & 46 <> 0) AS unqualified,
               count(*) FILTER (WHERE quality & 1 <> 0) AS without_fix,
               (max(speed::integer & 65535) / 10.0)::real AS max_speed_kmh
          FROM position_records
         GROUP BY terminal_id, time_bucket(interval '1 hour', placed_at)
          WITH NO DATA;
        SELECT format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name) INTO hours_now
          FROM timescaledb_information.continuous_aggregates
         WHERE view_schema = current_schema() AND view_name = 'terminal_hours';
        EXECUTE format('INSERT INTO %s (terminal_id, hour, reports, copies, late, unqualified, without_fix,'
                       ' max_speed_kmh) SELECT terminal_id, hour, reports, copies, late, unqualified, without_fix,'
                       ' max_speed_kmh FROM kept_hours', hours_now);
    END IF;
END
$$;

DROP TABLE position_columns, positions_before;

CREATE VIEW positions AS
SELECT placed_at,
       CASE WHEN reported_raw IS NULL THEN placed_at ELSE reported_at END AS reported_at,
       received_at,
       coalesce(last_received_at, received_at) AS last_received_at,
       body_hash,
       (CASE WHEN status_bits & 4 = 0 THEN 1 ELSE -1 END * (latitude::bigint & 4294967295))::double precision / 1e6 AS lat,
       (CASE WHEN status_bits & 8 = 0 THEN 1 ELSE -1 END * (longitude::bigint & 4294967295))::double precision / 1e6 AS lon,
       alarm_bits::bigint & 4294967295 AS alarm_bits,
       status_bits::bigint & 4294967295 AS status_bits,
       (coalesce(mileage, mileage_inside)::bigint & 4294967295)::double precision / 10 AS mileage_km,
       terminal_id,
       coalesce(copies, 1) AS copies,
       ((speed::integer & 65535)::double precision / 10)::real AS speed_kmh,
       heading::integer & 65535 AS heading_deg,
       altitude::integer & 65535 AS altitude_m,
       msg_id::integer AS msg_id,
       serial::integer & 65535 AS serial,
       quality::integer AS quality,
       authenticated,
       late,
       CASE WHEN reported_raw IS NULL
            THEN decode(to_char(placed_at AT TIME ZONE 'UTC' + interval '8 hours', 'YYMMDDHH24MISS'), 'hex')
            ELSE reported_raw END AS reported_raw,
       CASE WHEN mileage IS NULL THEN items
            ELSE '\x0104'::bytea || int4send(mileage) || coalesce(items, '') END AS items
  FROM position_records;

-- How many reports of which quality each terminal sent in each hour: a continuous aggregate where TimescaleDB has them
-- (its Timescale edition), else a table that the keeper refreshes. The same numbers either way. Quality bits 2, 4, 8 and
-- 32 make a record unqualified (数据合格率), bit 1 is a report without a fix.

CREATE TABLE stale_hours (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    terminal_id integer NOT NULL,
    at timestamptz NOT NULL                   -- of the earliest late report of its day
);

-- How far the table has been refreshed, where it is one.
CREATE TABLE hour_cursors (
    terminal_id integer PRIMARY KEY REFERENCES terminals,
    hour_at timestamptz NOT NULL,             -- the last hour that may still grow by what comes in order
    received_at timestamptz NOT NULL          -- of the newest report that was there the last time
) WITH (fillfactor = 70);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')
       AND current_setting('timescaledb.license', true) = 'timescale' THEN
        CREATE MATERIALIZED VIEW terminal_hours
            WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
        SELECT terminal_id, time_bucket(interval '1 hour', placed_at) AS hour,
               count(*) AS reports, sum(copies) AS copies,
               count(*) FILTER (WHERE late) AS late,
               count(*) FILTER (WHERE quality & 46 <> 0) AS unqualified,
               count(*) FILTER (WHERE quality & 1 <> 0) AS without_fix,
               max(speed_kmh) AS max_speed_kmh
          FROM positions
         GROUP BY terminal_id, time_bucket(interval '1 hour', placed_at)
          WITH NO DATA;
    ELSE
        CREATE TABLE terminal_hours (
            terminal_id integer NOT NULL,
            hour timestamptz NOT NULL,
            reports bigint NOT NULL,
            copies bigint NOT NULL,
            late bigint NOT NULL,
            unqualified bigint NOT NULL,
            without_fix bigint NOT NULL,
            max_speed_kmh real NOT NULL,
            PRIMARY KEY (terminal_id, hour)
        );
    END IF;
END
$$;

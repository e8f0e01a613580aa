-- Days of positions are made by whoever may make them, not by whoever fills them: the owner of `position_records` may,
-- and the worker asks. The search path is fixed, and `pg_temp` last in it, so that nobody puts a table of theirs in.

CREATE FUNCTION make_position_days(first date, following date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    day text := 'position_records_' || to_char(first, 'YYYYMMDD')
        || CASE WHEN following > first + 1 THEN '_' || to_char(following - 1, 'YYYYMMDD') ELSE '' END;
    begins timestamptz := first::timestamp AT TIME ZONE 'UTC';
    ends timestamptz := following::timestamp AT TIME ZONE 'UTC';
BEGIN
    IF following <= first OR following > first + 366 THEN
        RAISE EXCEPTION 'no days: % to %', first, following;
    END IF;
    IF (SELECT relkind = 'p' FROM pg_class WHERE oid = 'position_records'::regclass) THEN
        EXECUTE format('CREATE TABLE IF NOT EXISTS %I (LIKE position_records INCLUDING ALL)', day);
        EXECUTE format('ALTER TABLE position_records ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', day, begins, ends);
    ELSE
        PERFORM _timescaledb_functions.create_chunk('position_records', jsonb_build_object('placed_at', jsonb_build_array(
            (extract(epoch FROM begins) * 1000000)::bigint, (extract(epoch FROM ends) * 1000000)::bigint)));
    END IF;
END
$$;

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION make_position_days(date, date) SET search_path = %I, pg_temp', current_schema());
END
$$;
REVOKE ALL ON FUNCTION make_position_days(date, date) FROM PUBLIC;

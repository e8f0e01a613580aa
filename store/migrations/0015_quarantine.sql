-- Quarantine is bounded: of each terminal, reason and hour a number is kept, the rest only counted (the archive has the
-- bytes); and where the whole is too large, all is only counted.

CREATE TABLE quarantine_counts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hour timestamptz NOT NULL,                -- of receipt
    terminal_id integer REFERENCES terminals, -- null: of none that is known
    reason text NOT NULL,
    things bigint NOT NULL,                   -- frames, or bytes that are none
    kept bigint NOT NULL,                     -- so many of them are rows of quarantine, or were until retention took them
    UNIQUE NULLS NOT DISTINCT (hour, terminal_id, reason)
);

INSERT INTO quarantine_counts (hour, terminal_id, reason, things, kept)
SELECT date_bin('1 hour', received_at, 'epoch'), terminal_id, reason, count(*), count(*)
  FROM quarantine GROUP BY 1, 2, 3;

-- One row. Kept by triggers, because quarantine is emptied by several: people, retention, replays.
CREATE TABLE quarantine_size (
    things bigint NOT NULL,
    size_bytes bigint NOT NULL                -- what is stored, and 200 for each row and its places in the indexes
);

INSERT INTO quarantine_size
SELECT count(*), coalesce(sum(octet_length(raw) + octet_length(detail) + 200), 0) FROM quarantine;

CREATE FUNCTION add_to_quarantine_size() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE quarantine_size s SET things = s.things + c.things, size_bytes = s.size_bytes + c.size_bytes
      FROM (SELECT count(*) AS things, sum(octet_length(raw) + octet_length(detail) + 200) AS size_bytes
              FROM changed) c
     WHERE c.things > 0;
    RETURN NULL;
END
$$;

CREATE FUNCTION take_from_quarantine_size() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE quarantine_size s SET things = s.things - c.things, size_bytes = s.size_bytes - c.size_bytes
      FROM (SELECT count(*) AS things, sum(octet_length(raw) + octet_length(detail) + 200) AS size_bytes
              FROM changed) c
     WHERE c.things > 0;
    RETURN NULL;
END
$$;

CREATE TRIGGER quarantine_grows AFTER INSERT ON quarantine REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION add_to_quarantine_size();
CREATE TRIGGER quarantine_shrinks AFTER DELETE ON quarantine REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION take_from_quarantine_size();

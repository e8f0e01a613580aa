-- Events for others: one row for each change and consumer, written in the transaction of the change by triggers
-- on the tables of changes, so that whoever writes a change has written its event. A row goes when its message
-- was taken; what is here was not delivered, whichever transaction committed first. Without a consumer no row.

CREATE TABLE outbox_consumers (
    name text PRIMARY KEY,
    seen_at timestamptz NOT NULL DEFAULT now(),   -- nothing is kept for one that has been gone for a day
    dropped bigint NOT NULL DEFAULT 0,            -- rows given up, because there were too many or they were too old
    -- Every change up to the marks was told more than an hour ago; what a later one closed is closed again after a
    -- break, because a broker may have missed it, or forgotten it in a crash. The next marks become the marks.
    alarm_mark bigint NOT NULL,
    ticket_mark bigint NOT NULL,
    next_alarm_mark bigint NOT NULL,
    next_ticket_mark bigint NOT NULL,
    next_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE outbox (
    consumer text NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    kind text NOT NULL CHECK (kind IN ('link', 'alarm', 'ticket')),
    subject_id bigint NOT NULL,                   -- terminals.id, alarms.id or tickets.id: whose state changed
    change_id bigint,                             -- link_events.id, alarm_changes.id or ticket_changes.id; null: no
                                                  -- event, but the state reads differently now (another plate)
    written_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, id)
);

CREATE VIEW outbox_listeners AS SELECT name FROM outbox_consumers WHERE seen_at > now() - interval '1 day';

CREATE FUNCTION tell_link_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO outbox (consumer, kind, subject_id, change_id)
    SELECT l.name, 'link', n.terminal_id, n.id FROM outbox_listeners l CROSS JOIN added n ORDER BY n.id;
    RETURN NULL;
END $$;
CREATE TRIGGER tell AFTER INSERT ON link_events REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION tell_link_events();

CREATE FUNCTION tell_alarm_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO outbox (consumer, kind, subject_id, change_id)
    SELECT l.name, 'alarm', n.alarm_id, n.id FROM outbox_listeners l CROSS JOIN added n ORDER BY n.id;
    RETURN NULL;
END $$;
CREATE TRIGGER tell AFTER INSERT ON alarm_changes REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION tell_alarm_changes();

CREATE FUNCTION tell_ticket_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO outbox (consumer, kind, subject_id, change_id)
    SELECT l.name, 'ticket', n.ticket_id, n.id FROM outbox_listeners l CROSS JOIN added n ORDER BY n.id;
    RETURN NULL;
END $$;
CREATE TRIGGER tell AFTER INSERT ON ticket_changes REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION tell_ticket_changes();

-- States name the vehicle: they are told again when a terminal moves to another one …
CREATE FUNCTION tell_installations() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO outbox (consumer, kind, subject_id)
    SELECT DISTINCT l.name, 'link', n.terminal_id FROM outbox_listeners l CROSS JOIN added n;
    RETURN NULL;
END $$;
CREATE TRIGGER tell AFTER INSERT ON installations REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION tell_installations();
CREATE TRIGGER tell_again AFTER UPDATE ON installations REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION tell_installations();

-- … and when a vehicle gets another plate.
CREATE FUNCTION tell_vehicles() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO outbox (consumer, kind, subject_id)
    WITH v AS (
        SELECT n.id FROM renamed n JOIN old_name o USING (id)
         WHERE (n.plate, n.plate_color) IS DISTINCT FROM (o.plate, o.plate_color)
    )
    SELECT l.name, s.kind, s.id
      FROM outbox_listeners l CROSS JOIN (
          SELECT 'link' AS kind, i.terminal_id AS id
            FROM installations i JOIN v ON v.id = i.vehicle_id WHERE i.removed_at IS NULL
          UNION ALL
          SELECT 'alarm', a.id FROM alarms a JOIN v ON v.id = a.vehicle_id WHERE a.ended_at IS NULL
          UNION ALL
          SELECT 'ticket', k.id FROM tickets k JOIN v ON v.id = k.vehicle_id WHERE k.closed_at IS NULL
      ) s;
    RETURN NULL;
END $$;
CREATE TRIGGER tell AFTER UPDATE ON vehicles REFERENCING OLD TABLE AS old_name NEW TABLE AS renamed
    FOR EACH STATEMENT EXECUTE FUNCTION tell_vehicles();

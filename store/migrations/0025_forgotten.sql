-- Who is forgotten is out of every list, is reset in the worker where the log says so, and is a stranger when it is heard
-- again. What it said stays.

CREATE FUNCTION forget(who text, ids integer[]) RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    names text[];
    whom integer[];
    many integer;
BEGIN
    PERFORM FROM decision_counter FOR UPDATE;  -- before the terminals, as everybody who decides
    names := ARRAY(SELECT identity FROM terminals WHERE id = ANY(ids) AND NOT forgotten ORDER BY id FOR UPDATE);
    whom := ARRAY(SELECT id FROM terminals WHERE identity = ANY(names));
    many := cardinality(names);
    IF many = 0 THEN
        RETURN 0;
    END IF;
    -- It may have been forgotten before, and come back: then this is news all the same.
    PERFORM decide(who, array_fill('forgotten'::text, ARRAY[many]), names, array_fill(NULL::jsonb, ARRAY[many]));
    PERFORM decide(who, array_fill('forgotten'::text, ARRAY[many]) || array_fill('accepted'::text, ARRAY[many])
                        || array_fill('speaks_without_code'::text, ARRAY[many]),
                   names || names || names,
                   array_fill('true'::jsonb, ARRAY[many]) || array_fill('false'::jsonb, ARRAY[2 * many]));
    UPDATE terminals SET authenticated_at = NULL, first_authenticated_at = NULL WHERE id = ANY(whom);
    UPDATE installations SET removed_at = greatest(now(), installed_at) WHERE terminal_id = ANY(whom) AND removed_at IS NULL;
    WITH over AS (
        UPDATE alarms SET on_desk = false, ended_at = coalesce(ended_at, greatest(began_at, last_seen_at))
         WHERE terminal_id = ANY(whom) AND (ended_at IS NULL OR on_desk AND handled_at IS NULL)
        RETURNING id
    )
    INSERT INTO alarm_changes (alarm_id, at, change, detail)
    SELECT id, now(), 'ended', '{"reason": "forgotten"}' FROM over;
    WITH over AS (
        UPDATE tickets SET state = 'cancelled', closed_at = greatest(now(), opened_at),
                           closed_because = 'The terminal was forgotten.'
         WHERE terminal_id = ANY(whom) AND closed_at IS NULL
        RETURNING id
    )
    INSERT INTO ticket_changes (ticket_id, at, change, detail)
    SELECT id, now(), 'cancelled', '{"reason": "forgotten", "note": "The terminal was forgotten."}' FROM over;
    RETURN many;
END $$;

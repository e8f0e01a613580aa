-- What the worker asks of alarms by their key is found by indexes that hold only what it asks for: the open one, the
-- newest live one, the one that began then. An index that also held what is over would be read through for each change
-- of a key that was raised often. Alarms of strangers stand behind those of terminals that somebody knows.

DROP INDEX one_alarm_per_start;
DROP INDEX alarms_by_terminal;
CREATE UNIQUE INDEX one_alarm_per_start ON alarms (terminal_id, began_at, condition, object);
CREATE INDEX live_alarms_by_key ON alarms (terminal_id, condition, object, began_at) WHERE NOT late;

-- A stranger is a terminal that never authenticated and that nobody entered or accepted.
CREATE INDEX strangers ON terminals (id) WHERE NOT known AND authenticated_at IS NULL;
ALTER TABLE alarms ADD stranger boolean NOT NULL DEFAULT false;  -- it is one until somebody knows its terminal
UPDATE alarms a SET stranger = true FROM terminals t
 WHERE t.id = a.terminal_id AND NOT t.known AND t.authenticated_at IS NULL;
CREATE INDEX alarms_of_strangers ON alarms (terminal_id) WHERE stranger;
DROP INDEX alarms_on_desk;
CREATE INDEX alarms_on_desk ON alarms (stranger, severity, began_at DESC) WHERE handled_at IS NULL AND on_desk;

CREATE FUNCTION know_alarms() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE alarms SET stranger = false WHERE terminal_id = NEW.id AND stranger;
    RETURN NULL;
END $$;
CREATE TRIGGER know_alarms AFTER UPDATE ON terminals
    FOR EACH ROW WHEN (NOT OLD.known AND OLD.authenticated_at IS NULL
                       AND (NEW.known OR NEW.authenticated_at IS NOT NULL))
    EXECUTE FUNCTION know_alarms();

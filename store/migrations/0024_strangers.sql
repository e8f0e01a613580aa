-- Strangers raise no alarms any more. What theirs were stays in the history, and says why it is over.
CREATE TEMPORARY TABLE over ON COMMIT DROP AS
SELECT id FROM alarms WHERE stranger AND on_desk AND (handled_at IS NULL OR ended_at IS NULL);
UPDATE alarms SET on_desk = false, ended_at = coalesce(ended_at, greatest(began_at, last_seen_at))
 WHERE id IN (SELECT id FROM over);
INSERT INTO alarm_changes (alarm_id, at, change, detail)
SELECT id, now(), 'ended', '{"reason": "stranger"}' FROM over;
DROP TRIGGER know_alarms ON terminals;
DROP FUNCTION know_alarms();
DROP INDEX alarms_on_desk;
DROP INDEX alarms_of_strangers;
ALTER TABLE alarms DROP stranger;
CREATE INDEX alarms_on_desk ON alarms (severity, began_at DESC) WHERE handled_at IS NULL AND on_desk;

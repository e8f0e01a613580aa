-- What the monitor signs with: the cookies by which it knows a device again.
CREATE TABLE signing_keys (
    purpose text PRIMARY KEY,
    key bytea NOT NULL
);

-- Entries that somebody caused who is not signed in are folded: one for each value of this.
ALTER TABLE audit ADD folded text;
CREATE UNIQUE INDEX audit_folded ON audit (folded) WHERE folded IS NOT NULL;

-- The subject is a name alone; the action says of what.
UPDATE audit SET subject = regexp_replace(subject, '^(alarm|ticket|replay|log) ', '')
 WHERE action ~ '^(alarm|ticket|replay|log)\.' AND subject ~ '^(alarm|ticket|replay|log) ';
UPDATE audit SET subject = '' WHERE action IN ('log.seen', 'quarantine.deleted');
UPDATE audit SET subject = regexp_replace(subject, ' lines?$', '') WHERE action = 'fleet.imported';

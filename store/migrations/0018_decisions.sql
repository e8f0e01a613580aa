-- What people decide and facts depend on, in versions. A record in the log (`Decided`) gives each version its place
-- among what terminals said; the worker goes by it, and by nothing else that people did.

-- The last version that was given. Who decides holds this row until it commits, so that no version is seen before an
-- earlier one.
CREATE TABLE decision_counter (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    version bigint NOT NULL
);

-- The last version whose record the worker has come to. A row of its own: a long import keeps nobody waiting.
CREATE TABLE decisions_taken (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    version bigint NOT NULL
);

CREATE TABLE decision_versions (
    version bigint PRIMARY KEY,
    decided_at timestamptz NOT NULL DEFAULT now(),
    decided_by text NOT NULL,                 -- a person's name, or what decides by itself: configuration, enrolment, …
    taken_at timestamptz                      -- receipt of the first record in the log that names it, or a later one
);
CREATE INDEX decision_versions_by_place ON decision_versions (taken_at);

-- What a version says. It holds until a later one says something else of the same; NULL: nothing is decided any more.
CREATE TABLE decisions (
    version bigint NOT NULL REFERENCES decision_versions,
    kind text NOT NULL,                       -- see store.decisions
    subject text NOT NULL,                    -- a terminal's identity, or the name of a setting
    value jsonb,
    PRIMARY KEY (kind, subject, version)
);
CREATE INDEX decisions_by_version ON decisions (version);

ALTER TABLE terminals
    ADD code_epoch integer NOT NULL DEFAULT 0,                -- codes of an earlier epoch are worthless
    ADD speaks_without_code boolean NOT NULL DEFAULT false,   -- a person has allowed it, or the upgrade
    ADD forgotten boolean NOT NULL DEFAULT false;             -- out of every list until it is heard again

-- Give what was decided a version, and bring what `terminals` says now in line; NULL where nothing is news.
CREATE FUNCTION decide(who text, kinds text[], subjects text[], vals jsonb[]) RETURNS bigint
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE given bigint;
BEGIN
    SELECT version + 1 INTO given FROM decision_counter FOR UPDATE;
    INSERT INTO decision_versions (version, decided_by) VALUES (given, who);
    INSERT INTO decisions (version, kind, subject, value)
    SELECT DISTINCT ON (said.kind, said.subject) given, said.kind, said.subject, said.value
      FROM unnest(kinds, subjects, vals) WITH ORDINALITY AS said (kind, subject, value, place)
      LEFT JOIN LATERAL (SELECT d.value FROM decisions d WHERE d.kind = said.kind AND d.subject = said.subject
                          ORDER BY d.version DESC LIMIT 1) AS before ON true
     WHERE before.value IS DISTINCT FROM said.value
     ORDER BY said.kind, said.subject, said.place DESC;
    IF NOT FOUND THEN
        DELETE FROM decision_versions WHERE version = given;
        RETURN NULL;
    END IF;
    UPDATE decision_counter SET version = given;
    UPDATE terminals t
       SET known = coalesce(said.accepted, t.known), blocked = coalesce(said.blocked, t.blocked),
           code_epoch = coalesce(said.code_epoch, t.code_epoch), forgotten = coalesce(said.forgotten, t.forgotten),
           speaks_without_code = coalesce(said.speaks_without_code, t.speaks_without_code)
      FROM (SELECT d.subject,
                   bool_or(coalesce(d.value::boolean, false)) FILTER (WHERE d.kind = 'accepted') AS accepted,
                   bool_or(coalesce(d.value::boolean, false)) FILTER (WHERE d.kind = 'blocked') AS blocked,
                   max(coalesce(d.value::integer, 0)) FILTER (WHERE d.kind = 'code_epoch') AS code_epoch,
                   bool_or(coalesce(d.value::boolean, false)) FILTER (WHERE d.kind = 'forgotten') AS forgotten,
                   bool_or(coalesce(d.value::boolean, false)) FILTER (WHERE d.kind = 'speaks_without_code') AS speaks_without_code
              FROM decisions d
             WHERE d.version = given
               AND d.kind IN ('accepted', 'blocked', 'code_epoch', 'forgotten', 'speaks_without_code')
             GROUP BY d.subject) AS said
     WHERE t.identity = said.subject;
    RETURN given;
END $$;

-- Who was known when versions began. Whom we know, and who has sent its last reports without a code, goes on being
-- believed until it authenticates: the keeper ends that.
UPDATE terminals t SET speaks_without_code = true
 WHERE (t.known OR t.authenticated_at IS NOT NULL)
   AND (SELECT bool_and(NOT last.authenticated)
          FROM (SELECT p.authenticated FROM positions p WHERE p.terminal_id = t.id
                 ORDER BY p.placed_at DESC LIMIT 5) last);
INSERT INTO decision_versions (version, decided_by)
SELECT 1, 'upgrade' WHERE EXISTS (SELECT FROM terminals WHERE known OR blocked OR speaks_without_code);
INSERT INTO decisions (version, kind, subject, value)
SELECT 1, 'accepted', identity, 'true'::jsonb FROM terminals WHERE known
 UNION ALL
SELECT 1, 'blocked', identity, 'true'::jsonb FROM terminals WHERE blocked
 UNION ALL
SELECT 1, 'speaks_without_code', identity, 'true'::jsonb FROM terminals WHERE speaks_without_code;
INSERT INTO decision_counter (version) SELECT count(*) FROM decision_versions;
INSERT INTO decisions_taken (version) SELECT version FROM decision_counter;

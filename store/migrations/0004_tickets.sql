-- Repair work: opened with a reason that a person would accept, closed on proof.

-- Many terminals silent at once are one incident, not many tickets.
CREATE TABLE incidents (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,                       -- mass_silence
    opened_at timestamptz NOT NULL,
    closed_at timestamptz,
    terminals integer NOT NULL DEFAULT 0,     -- silent at its height
    detail jsonb NOT NULL DEFAULT '{}'
);
CREATE UNIQUE INDEX one_open_incident_per_kind ON incidents (kind) WHERE closed_at IS NULL;

CREATE TABLE tickets (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    terminal_id integer NOT NULL REFERENCES terminals,
    vehicle_id integer REFERENCES vehicles,   -- bound when it was opened
    fault text NOT NULL,                      -- silent
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'accepted', 'repaired', 'closed', 'cancelled')),
    reason text NOT NULL,                     -- one sentence with the numbers that decided
    evidence jsonb NOT NULL,                  -- last fix, last frames, last bits, link history, mode, expectation
    opened_at timestamptz NOT NULL,           -- log time
    closed_at timestamptz,
    closed_because text,                      -- the proof
    assigned_to integer REFERENCES users,
    note text NOT NULL DEFAULT '',
    CHECK ((closed_at IS NULL) = (state NOT IN ('closed', 'cancelled')))
);
CREATE UNIQUE INDEX one_open_ticket_per_fault ON tickets (terminal_id, fault) WHERE closed_at IS NULL;
CREATE INDEX tickets_by_time ON tickets (opened_at DESC);

CREATE TABLE ticket_changes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ticket_id bigint NOT NULL REFERENCES tickets,
    at timestamptz NOT NULL,
    change text NOT NULL,                     -- opened, accepted, repaired, noted, closed, cancelled, reopened
    user_id integer REFERENCES users,
    detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX ticket_changes_by_ticket ON ticket_changes (ticket_id, id);

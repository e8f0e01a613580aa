-- Terminals that two links went on speaking as, beside each other: one number in two devices, or forwarded twice.
CREATE TABLE clones (
    terminal_id integer PRIMARY KEY REFERENCES terminals,
    began_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,        -- told again each minute; a day after this it is over
    peers text[] NOT NULL,                    -- addresses of the newer link and of the older one
    frames bigint[] NOT NULL,                 -- what each has said beside the other
    take_overs integer NOT NULL               -- how often links of it were replaced before, within ten minutes
);

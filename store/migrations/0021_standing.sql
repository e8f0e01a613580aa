-- Who has not proved who it is changes nothing of who has. What it says of itself is a claim, and that a terminal speaks
-- without its code is a fault of its own.

-- What terminals said in 0x0100 in sessions that have not authenticated. The session makes it the registration.
CREATE TABLE claims (
    terminal_id integer NOT NULL REFERENCES terminals,
    session bigint NOT NULL,
    received_at timestamptz NOT NULL,
    edition text NOT NULL,
    province_id integer NOT NULL,
    city_id integer NOT NULL,
    manufacturer_id text NOT NULL,
    model text NOT NULL,
    maker_terminal_id text NOT NULL,
    plate text NOT NULL,                      -- empty where it names none
    plate_color smallint NOT NULL,
    PRIMARY KEY (terminal_id, session)
);

ALTER TABLE terminals ADD first_authenticated_at timestamptz;   -- from then on it is no stranger
UPDATE terminals SET first_authenticated_at = least(authenticated_at, coalesce(first_seen_at, created_at))
 WHERE authenticated_at IS NOT NULL;

ALTER TABLE terminal_states
    ADD without_code_at timestamptz,          -- when it last said something that did not count, though it has a code
    ADD without_code bigint NOT NULL DEFAULT 0;   -- how often

UPDATE pieces SET hold = 'uploads' WHERE hold = 'strangers';

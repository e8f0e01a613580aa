-- What terminals said that has no table of its own: answers, drivers, pictures, data passed through.

CREATE TABLE messages (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    terminal_id integer NOT NULL REFERENCES terminals,
    received_at timestamptz NOT NULL,         -- of the last fragment where it came in pieces
    msg_id integer NOT NULL,
    serial integer NOT NULL,                  -- of the first fragment
    edition text NOT NULL CHECK (edition IN ('2011', '2013', '2019')),
    body bytea NOT NULL,                      -- whole, as sent
    log_id uuid NOT NULL,                     -- where it was received: a replay changes nothing
    position bigint NOT NULL,
    ordinal integer NOT NULL,
    UNIQUE (log_id, position, ordinal)
);
CREATE INDEX messages_by_terminal ON messages (terminal_id, received_at DESC);

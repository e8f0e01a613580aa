-- Pieces of messages that are not whole yet, as received. They lie here so that the log need not wait for the rest.

CREATE TABLE pieces (
    log_id uuid NOT NULL,                     -- where it was received
    position bigint NOT NULL,
    ordinal integer NOT NULL,
    hold text NOT NULL,                       -- within whose limits it is held: uploads, strangers, packets
    terminal_id integer NOT NULL REFERENCES terminals,
    received_at timestamptz NOT NULL,
    msg_id integer NOT NULL,
    number bigint NOT NULL,                   -- serial of the first fragment; of packets of 2011 the medium's id
    total integer NOT NULL,
    index integer NOT NULL,                   -- which one it is, from 1
    body_start integer NOT NULL,              -- where in the frame the body begins
    raw bytea NOT NULL,                       -- the frame, plain
    PRIMARY KEY (log_id, position, ordinal)
);

-- How far the logs had been read when this table came. What had been held by then is in the log only; the first start after
-- that puts it here, and empties this.
CREATE TABLE pieces_begin (
    log_id uuid PRIMARY KEY,
    position bigint NOT NULL
);

INSERT INTO pieces_begin SELECT log_id, position FROM cursors;

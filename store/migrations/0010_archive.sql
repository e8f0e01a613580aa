-- Media 多媒体 (0x0801) by the hash of their content: what is known of them stands here, the content in files.

CREATE TABLE media (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    terminal_id integer NOT NULL REFERENCES terminals,
    received_at timestamptz NOT NULL,         -- of the last piece of the first copy
    reported_at timestamptz,                  -- the terminal's clock, as in positions; null where it said none
    media_id bigint NOT NULL,                 -- the terminal's number for it
    kind smallint NOT NULL,                   -- 0 picture, 1 sound, 2 video
    format smallint NOT NULL,                 -- 0 JPEG, 1 TIF, 2 MP3, 3 WAV, 4 WMV, others by agreement
    event smallint NOT NULL,                  -- 0 command, 1 timer, 2 robbery, 3 collision, 4 door opened, ...
    channel smallint NOT NULL,
    part integer NOT NULL,                    -- 1 of 1; in 2011 a medium may come in packets, 0 is the whole of them
    parts integer NOT NULL,
    lat double precision,                     -- with a fix
    lon double precision,
    speed_kmh real,
    alarm_bits bigint,
    status_bits bigint,
    serial integer NOT NULL,                  -- of the first fragment
    edition text NOT NULL CHECK (edition IN ('2011', '2013', '2019')),
    head bytea NOT NULL,                      -- the body before the content, as sent
    sha256 bytea NOT NULL CHECK (length(sha256) = 32),
    size bigint NOT NULL,
    copies integer NOT NULL DEFAULT 1,        -- how often the same came
    last_received_at timestamptz NOT NULL,
    log_id uuid NOT NULL,                     -- where the first copy was received
    position bigint NOT NULL,
    ordinal integer NOT NULL,
    UNIQUE NULLS NOT DISTINCT (terminal_id, media_id, part, parts, reported_at, sha256)
);
CREATE INDEX media_by_time ON media (received_at DESC, id DESC);
CREATE INDEX media_by_terminal ON media (terminal_id, coalesce(reported_at, received_at) DESC);
CREATE INDEX media_by_content ON media (sha256);

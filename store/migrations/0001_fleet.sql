-- Who is out there: terminals, vehicles, what is installed where, and the people who look after them.

CREATE TABLE terminals (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    identity text NOT NULL UNIQUE,            -- the header's id as hex without leading zeros
    edition text NOT NULL DEFAULT '2013' CHECK (edition IN ('2011', '2013', '2019')),
    known boolean NOT NULL DEFAULT false,     -- entered or accepted by a person; policy `known` lets only these in
    blocked boolean NOT NULL DEFAULT false,
    -- as the terminal said when it registered (0x0100)
    province_id integer,
    city_id integer,
    manufacturer_id text,
    model text,
    maker_terminal_id text,
    registered_plate text,
    registered_plate_color smallint,
    registered_at timestamptz,
    authenticated_at timestamptz,
    iccid text,
    note text NOT NULL DEFAULT '',
    first_seen_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE vehicles (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    plate text NOT NULL,
    plate_color smallint NOT NULL DEFAULT 1,  -- JT/T 415-2006 5.4.12: 1 blue, 2 yellow, 3 black, 4 white, 9 other; 0 no plate yet
    vin text,
    owner text NOT NULL DEFAULT '',
    contact text NOT NULL DEFAULT '',
    note text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (plate, plate_color)
);

-- A terminal is in one vehicle at a time and a vehicle has one terminal at a time; a plate outlives its terminals.
CREATE TABLE installations (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    terminal_id integer NOT NULL REFERENCES terminals,
    vehicle_id integer NOT NULL REFERENCES vehicles,
    installed_at timestamptz NOT NULL DEFAULT now(),
    removed_at timestamptz,
    CHECK (removed_at IS NULL OR removed_at >= installed_at)
);
CREATE UNIQUE INDEX one_vehicle_per_terminal ON installations (terminal_id) WHERE removed_at IS NULL;
CREATE UNIQUE INDEX one_terminal_per_vehicle ON installations (vehicle_id) WHERE removed_at IS NULL;

CREATE TABLE users (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    display_name text NOT NULL DEFAULT '',
    role text NOT NULL CHECK (role IN ('admin', 'operator')),
    password_hash text NOT NULL,              -- argon2id
    disabled boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE sign_ins (
    token_hash bytea PRIMARY KEY,             -- SHA-256 of the cookie's value: a stolen table opens no session
    user_id integer NOT NULL REFERENCES users ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);

-- What people did, for the owner who answers to the authority.
CREATE TABLE audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    user_name text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_by_time ON audit (at DESC);

-- What the codes of authenticators are made from, and who may do without one. Only the monitor reads these.
CREATE TABLE second_factors (
    user_id integer PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    secret text,                              -- base32; null: no second factor yet
    proposed text,                            -- one of which its person has confirmed no code yet
    last_step bigint NOT NULL DEFAULT 0       -- the half minute of the last code that was used: none serves twice
);

CREATE TABLE recovery_codes (
    user_id integer NOT NULL REFERENCES users ON DELETE CASCADE,
    code_hash bytea NOT NULL,                 -- SHA-256; a used code is deleted
    PRIMARY KEY (user_id, code_hash)
);

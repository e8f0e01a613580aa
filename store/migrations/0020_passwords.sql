-- Somebody else has chosen the password: its person may do nothing before choosing another.
ALTER TABLE users ADD must_change_password boolean NOT NULL DEFAULT false;

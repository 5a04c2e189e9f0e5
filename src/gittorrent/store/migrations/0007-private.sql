-- Repositories that this machine knows to be private, so that nobody else is asked for them.
CREATE TABLE private (
    repository_id TEXT PRIMARY KEY
) STRICT;

-- Tokens that the operator gave to readers. digest: SHA-256 of the token, in hexadecimal;
-- repository_id: the only one it is good for, or empty; expires: 0 for never.
CREATE TABLE tokens (
    name TEXT PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    repository_id TEXT NOT NULL,
    made INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT;

-- Mirrors of repositories that this machine verified, to turn to when the one named is gone.
-- trusted: the kind of address each was learned from; empty where the user named it.
CREATE TABLE remembered (
    repository_id TEXT NOT NULL,
    url TEXT NOT NULL,
    trusted TEXT NOT NULL,
    seen INTEGER NOT NULL,
    served INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (repository_id, url)
) STRICT;

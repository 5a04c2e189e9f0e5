-- What this node carries.
CREATE TABLE repositories (
    name TEXT PRIMARY KEY,
    repository_id TEXT NOT NULL,
    path TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL CHECK (role IN ('origin', 'mirror')),
    source TEXT NOT NULL DEFAULT ''
) STRICT;

-- First contact without an id is remembered per URL, as ssh does.
CREATE TABLE known_urls (
    url TEXT PRIMARY KEY,
    repository_id TEXT NOT NULL,
    first_seen INTEGER NOT NULL
) STRICT;

-- Mirrors that announced themselves to this node.
CREATE TABLE mirrors (
    repository_id TEXT NOT NULL,
    url TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('current', 'stale', 'partial')),
    source TEXT NOT NULL,
    verified INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    renewals INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (repository_id, url)
) STRICT;

-- The newest log head verified of each repository: no mirror may take us back behind it.
CREATE TABLE heads (
    repository_id TEXT PRIMARY KEY,
    head TEXT NOT NULL,
    length INTEGER NOT NULL,
    seen INTEGER NOT NULL
) STRICT;

-- Keys that signed manifests for the wrong objects.
CREATE TABLE distrusted (
    repository_id TEXT NOT NULL,
    key TEXT NOT NULL,
    reason TEXT NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (repository_id, key)
) STRICT;

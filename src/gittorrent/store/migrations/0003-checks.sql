-- What looking for news of each mirrored repository came to. Times are seconds since 1970, 0 for never.
-- source: who the last success came from; failures: in a row, 0 after a success.
CREATE TABLE checks (
    repository_id TEXT PRIMARY KEY,
    succeeded INTEGER NOT NULL DEFAULT 0,
    source TEXT NOT NULL DEFAULT '',
    failed INTEGER NOT NULL DEFAULT 0,
    error TEXT NOT NULL DEFAULT '',
    failures INTEGER NOT NULL DEFAULT 0
) STRICT;

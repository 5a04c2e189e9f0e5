-- Plain git servers that are tracked: each is published under a name by this node.
-- every: seconds between looks, 0 where no node looks; patterns: of further refs, a line each;
-- key: what names the key to sign with; secret: file of the webhook's secret, empty for no webhook.
-- settled: digest of the refs that were published whole, empty for none; headed: when HEAD was
-- looked at; succeeded, failed, next: seconds since 1970, 0 for never; failures: in a row.
CREATE TABLE tracks (
    name TEXT PRIMARY KEY,
    url TEXT NOT NULL,
    every INTEGER NOT NULL,
    patterns TEXT NOT NULL,
    key TEXT NOT NULL,
    secret TEXT NOT NULL,
    paused INTEGER NOT NULL DEFAULT 0,
    by_config INTEGER NOT NULL DEFAULT 0,
    settled TEXT NOT NULL DEFAULT '',
    headed INTEGER NOT NULL DEFAULT 0,
    succeeded INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    error TEXT NOT NULL DEFAULT '',
    failures INTEGER NOT NULL DEFAULT 0,
    next INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TRIGGER tracked_more AFTER INSERT ON tracks
BEGIN UPDATE changes SET number = number + 1; END;
CREATE TRIGGER tracked_less AFTER DELETE ON tracks
BEGIN UPDATE changes SET number = number + 1; END;
CREATE TRIGGER tracked_other AFTER UPDATE OF url, every, patterns, key, secret, paused, by_config ON tracks
BEGIN UPDATE changes SET number = number + 1; END;

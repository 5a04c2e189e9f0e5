-- What the node follows by itself, beyond what it carries.

-- URLs of repositories that 'gittorrent mirror' was asked for and that are not here yet.
CREATE TABLE wanted (
    url TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    since INTEGER NOT NULL
) STRICT;

-- Mirrors that are paused, and those that the configuration named.
CREATE TABLE following (
    repository_id TEXT PRIMARY KEY,
    paused INTEGER NOT NULL,
    by_config INTEGER NOT NULL
) STRICT;

-- head: checkpoint that the last whole update came to; whole: when that was; next: when the node
-- looks again; live: whether a conversation tells of news meanwhile.
ALTER TABLE checks ADD COLUMN head TEXT NOT NULL DEFAULT '';
ALTER TABLE checks ADD COLUMN whole INTEGER NOT NULL DEFAULT 0;
ALTER TABLE checks ADD COLUMN next INTEGER NOT NULL DEFAULT 0;
ALTER TABLE checks ADD COLUMN live INTEGER NOT NULL DEFAULT 0;

-- Counts changes of what is carried and followed, so that a node need not read all of it to see some.
CREATE TABLE changes (number INTEGER NOT NULL) STRICT;
INSERT INTO changes VALUES (0);
CREATE TRIGGER carried_more AFTER INSERT ON repositories
BEGIN UPDATE changes SET number = number + 1; END;
CREATE TRIGGER carried_less AFTER DELETE ON repositories
BEGIN UPDATE changes SET number = number + 1; END;
CREATE TRIGGER wanted_more AFTER INSERT ON wanted
BEGIN UPDATE changes SET number = number + 1; END;
CREATE TRIGGER wanted_less AFTER DELETE ON wanted
BEGIN UPDATE changes SET number = number + 1; END;
CREATE TRIGGER following_more AFTER INSERT ON following
BEGIN UPDATE changes SET number = number + 1; END;
CREATE TRIGGER following_other AFTER UPDATE ON following
BEGIN UPDATE changes SET number = number + 1; END;
CREATE TRIGGER following_less AFTER DELETE ON following
BEGIN UPDATE changes SET number = number + 1; END;

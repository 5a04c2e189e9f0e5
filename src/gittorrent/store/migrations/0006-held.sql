-- What disappeared suddenly where this node follows it, and is held back (push/purge_guard.py).
-- kind: what the names are; subject: id of the repository, or name of the tracked one; title: what
-- people call it; until: 0 for no end; decision: waiting, confirmed or refused.
CREATE TABLE held (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    title TEXT NOT NULL,
    total INTEGER NOT NULL,
    since INTEGER NOT NULL,
    until INTEGER NOT NULL,
    decision TEXT NOT NULL CHECK (decision IN ('waiting', 'confirmed', 'refused'))
) STRICT;
CREATE INDEX held_of ON held (kind, subject);

-- name: as the log or the collection has it; value: what it stood for.
CREATE TABLE held_names (
    number INTEGER NOT NULL REFERENCES held (number),
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (number, name)
) STRICT;

-- How many names disappeared, and when: small steps count together.
CREATE TABLE departed (
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    moment INTEGER NOT NULL,
    count INTEGER NOT NULL
) STRICT;
CREATE INDEX departed_of ON departed (kind, subject, moment);

CREATE TRIGGER held_decided AFTER UPDATE OF decision ON held
BEGIN UPDATE changes SET number = number + 1; END;

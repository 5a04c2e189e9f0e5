-- How many names came, and when: what was added a moment ago makes no share of what goes smaller.
CREATE TABLE arrived (
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    moment INTEGER NOT NULL,
    count INTEGER NOT NULL
) STRICT;
CREATE INDEX arrived_of ON arrived (kind, subject, moment);

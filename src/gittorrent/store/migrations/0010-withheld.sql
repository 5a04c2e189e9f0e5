-- Mirrors that offered what they did not give, and when that was: they are asked last for a day.
CREATE TABLE withheld (
    repository_id TEXT NOT NULL,
    url TEXT NOT NULL,
    moment INTEGER NOT NULL,
    PRIMARY KEY (repository_id, url)
) STRICT;
CREATE INDEX withheld_at ON withheld (moment);

-- Collections that are followed: lists of repositories that their owners want carried.
-- limits: JSON of CollectionLimits; repository_id: empty until it is known; checkpoint: of the
-- newest content taken; faults: JSON list of what was wrong in it, problem: why newer content or
-- none was taken.
CREATE TABLE collections (
    url TEXT PRIMARY KEY,
    by_config INTEGER NOT NULL,
    since INTEGER NOT NULL,
    limits TEXT NOT NULL,
    repository_id TEXT NOT NULL DEFAULT '',
    checkpoint TEXT NOT NULL DEFAULT '',
    taken INTEGER NOT NULL DEFAULT 0,
    faults TEXT NOT NULL DEFAULT '[]',
    problem TEXT NOT NULL DEFAULT ''
) STRICT;

-- What each names, by the id of the collection's repository. place: its order there; urls: JSON.
CREATE TABLE collected (
    collection_id TEXT NOT NULL,
    repository_id TEXT NOT NULL,
    name TEXT NOT NULL,
    priority INTEGER NOT NULL,
    place INTEGER NOT NULL,
    urls TEXT NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (collection_id, repository_id)
) STRICT;

-- Why a repository that a collection names was not taken when its log was looked at.
CREATE TABLE refused (
    repository_id TEXT PRIMARY KEY,
    reason TEXT NOT NULL,
    moment INTEGER NOT NULL
) STRICT;

-- Repositories that the operator removed and that no collection is to bring again.
CREATE TABLE excluded (repository_id TEXT PRIMARY KEY) STRICT;

-- by_collection: no one but a collection asked for it; leaving: its owners took it out.
ALTER TABLE following ADD COLUMN by_collection INTEGER NOT NULL DEFAULT 0;
ALTER TABLE following ADD COLUMN leaving INTEGER NOT NULL DEFAULT 0;

CREATE TRIGGER collections_more AFTER INSERT ON collections
BEGIN UPDATE changes SET number = number + 1; END;
CREATE TRIGGER collections_other AFTER UPDATE ON collections
BEGIN UPDATE changes SET number = number + 1; END;
CREATE TRIGGER collections_less AFTER DELETE ON collections
BEGIN UPDATE changes SET number = number + 1; END;
CREATE TRIGGER refused_more AFTER INSERT ON refused
BEGIN UPDATE changes SET number = number + 1; END;
CREATE TRIGGER refused_less AFTER DELETE ON refused
BEGIN UPDATE changes SET number = number + 1; END;
CREATE TRIGGER excluded_less AFTER DELETE ON excluded
BEGIN UPDATE changes SET number = number + 1; END;

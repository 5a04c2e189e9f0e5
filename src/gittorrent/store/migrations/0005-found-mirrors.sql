-- How each remembered mirror was found, and on whose word: each source has a share of the table.
ALTER TABLE remembered ADD COLUMN found TEXT NOT NULL DEFAULT 'listed';
ALTER TABLE remembered ADD COLUMN teller TEXT NOT NULL DEFAULT '';
UPDATE remembered SET found = 'named' WHERE trusted = '';

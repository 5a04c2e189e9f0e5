-- Where the home was when it was looked whether it is a copy: its path, and what the system calls the
-- directory. One row, or none.
CREATE TABLE place (
    home TEXT NOT NULL
) STRICT;

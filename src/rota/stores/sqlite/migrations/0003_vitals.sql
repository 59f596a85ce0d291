-- oldest_server: 2
-- What servers say of themselves, to be shown. A table of its own: servers of schema 2 go on reading theirs as it was.

CREATE TABLE server_vitals (
    server TEXT PRIMARY KEY REFERENCES servers (id) ON DELETE CASCADE,
    at INTEGER NOT NULL,
    readings TEXT NOT NULL
) STRICT;

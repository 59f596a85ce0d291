-- oldest_server: 3
-- What servers say of themselves, to be shown. A table of its own: servers of schema 3 go on reading theirs as it was.

CREATE TABLE server_vitals (
    server text COLLATE "C" PRIMARY KEY REFERENCES servers (id) ON DELETE CASCADE,
    at bigint NOT NULL,
    readings text NOT NULL
) WITH (fillfactor = 50);

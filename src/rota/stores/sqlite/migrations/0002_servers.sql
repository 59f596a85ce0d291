-- oldest_server: 2
-- Leases of servers, what is known of workers beyond their session, tokens of workers, versions of counters, runs
-- asked back from their worker.
-- Servers of schema 1 write counters without raising their version, so they may not work beside newer ones.

CREATE TABLE servers (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    url TEXT NOT NULL,
    version TEXT NOT NULL,
    started INTEGER NOT NULL,
    renewed INTEGER NOT NULL,
    lease_until INTEGER NOT NULL
) STRICT;

ALTER TABLE workers ADD COLUMN draining INTEGER NOT NULL DEFAULT 0 CHECK (draining = 0 OR draining = 1);
ALTER TABLE workers ADD COLUMN clock_offset REAL;
ALTER TABLE workers ADD COLUMN settled INTEGER;
ALTER TABLE workers ADD COLUMN boot_session INTEGER NOT NULL DEFAULT 1 CHECK (boot_session <= session);
ALTER TABLE workers ADD COLUMN dial INTEGER NOT NULL DEFAULT 0;

CREATE INDEX workers_open ON workers (name) WHERE settled IS NULL;

ALTER TABLE job_stats ADD COLUMN version INTEGER NOT NULL DEFAULT 1 CHECK (version >= 1);

ALTER TABLE tokens ADD COLUMN worker TEXT;
ALTER TABLE tokens ADD COLUMN uses INTEGER;
ALTER TABLE tokens ADD COLUMN labels TEXT;

ALTER TABLE runs_hot ADD COLUMN withdrawn TEXT;
ALTER TABLE runs_history ADD COLUMN withdrawn TEXT;

CREATE INDEX runs_hot_asked ON runs_hot (due, id)
    WHERE (cancel IS NOT NULL OR withdrawn IS NOT NULL) AND state <> 'queued';
CREATE INDEX runs_hot_starting ON runs_hot (ready_at, id) WHERE state = 'starting';

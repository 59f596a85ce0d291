-- oldest_server: 1
-- Everything of Rota lives in the schema `rota`, which is the search path of its connections.
--
-- Times are microseconds since 1970 in UTC: exact, and half the work of timestamptz for who reads and writes thousands
-- a second. `moment(due)` shows one to people. Nested values are JSON text. Ids of jobs and runs are UUIDs; what is
-- ordered by text is ordered by code point (COLLATE "C"), whatever the database's own collation.
--
-- Names that end in a number (types, views, functions) belong to the schema that made them and never change: a later
-- schema adds `…_2` beside them, so that servers of both work at the same time. No query names all columns by `*`
-- except from such a view.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'rota') THEN
        CREATE SCHEMA rota;
    END IF;
END
$$;

CREATE TABLE migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    oldest_server integer NOT NULL  -- the lowest schema number a server must know to work on this database
);

CREATE TABLE facts (
    key text COLLATE "C" PRIMARY KEY,
    value text NOT NULL
);

CREATE TABLE fences (
    one smallint PRIMARY KEY CHECK (one = 1),
    incarnation bigint NOT NULL CHECK (incarnation >= 1),
    next_counter bigint NOT NULL CHECK (next_counter >= 1)
);

INSERT INTO fences (one, incarnation, next_counter) VALUES (1, 1, 1);

-- ── servers and shards ──────────────────────────────────────────────────────────────────────────────────

CREATE TABLE servers (
    id text COLLATE "C" PRIMARY KEY,
    name text NOT NULL,
    url text NOT NULL,
    version text NOT NULL,
    started bigint NOT NULL,
    renewed bigint NOT NULL,
    lease_until bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE shards (
    shard smallint PRIMARY KEY,
    server text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL
) WITH (fillfactor = 50);

INSERT INTO shards (shard, server, epoch) SELECT shard, '', 0 FROM generate_series(0, 63) AS shard;

CREATE INDEX shards_by_server ON shards (server);

-- ── jobs: the definition, and apart from it what every instant moves ────────────────────────────────────

CREATE TABLE jobs (
    id uuid PRIMARY KEY,
    namespace text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    full_name text COLLATE "C" NOT NULL UNIQUE,
    revision integer NOT NULL CHECK (revision >= 1),
    source text COLLATE "C",
    spec text NOT NULL,
    created bigint NOT NULL,
    updated bigint NOT NULL,
    deleted bigint,
    -- What lists filter by, taken out of the spec.
    title text,
    owner text,
    schedule text,
    labels text,
    shadow boolean NOT NULL,
    at_start boolean NOT NULL,
    keeps boolean NOT NULL,  -- has a retention of its own
    searched text NOT NULL  -- name, title and schedule, case-folded by the server: PostgreSQL folds by its locale
);

CREATE INDEX jobs_by_namespace ON jobs (namespace) WHERE deleted IS NULL;
CREATE INDEX jobs_by_source ON jobs (source, full_name) WHERE source IS NOT NULL;
CREATE INDEX jobs_at_start ON jobs (full_name) WHERE at_start;
CREATE INDEX jobs_keeping ON jobs (full_name) WHERE keeps;

-- Narrow and with few indexes, because each instant writes it; this row is also what "lock the job" means.
CREATE TABLE job_cursors (
    job_id uuid PRIMARY KEY,
    shard smallint NOT NULL,
    version integer NOT NULL CHECK (version >= 1),
    cursor bigint NOT NULL,
    next_at bigint,
    pause text,
    broken text,
    deleted bigint  -- as in jobs
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000);

CREATE INDEX job_cursors_due ON job_cursors (shard, next_at, job_id)
    WHERE next_at IS NOT NULL AND deleted IS NULL AND broken IS NULL;
CREATE INDEX job_cursors_by_next ON job_cursors (coalesce(next_at, 9223372036854775807), job_id) WHERE deleted IS NULL;
CREATE INDEX job_cursors_in_shard ON job_cursors (shard, job_id) WHERE deleted IS NULL;
CREATE INDEX job_cursors_paused ON job_cursors (job_id) WHERE pause IS NOT NULL;

CREATE TABLE revisions (
    job_id uuid NOT NULL,
    revision integer NOT NULL,
    spec text NOT NULL,
    changed bigint NOT NULL,
    actor text NOT NULL,
    source text,
    PRIMARY KEY (job_id, revision)
);

CREATE TABLE job_stats (
    job_id uuid PRIMARY KEY,
    recent text NOT NULL,
    fails_in_row integer NOT NULL,
    streak uuid,
    alerted_at bigint,
    last_run uuid,
    last_state text CHECK (
        last_state IN (
            'queued', 'starting', 'running', 'succeeded', 'failed', 'timed-out', 'cancelled', 'skipped', 'missed',
            'lost'
        )
    ),
    last_due bigint,
    last_finished bigint,
    last_success bigint,
    late_since bigint,
    version integer NOT NULL CHECK (version >= 1)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000);

CREATE INDEX job_stats_failing ON job_stats (job_id) WHERE fails_in_row > 0;
CREATE INDEX job_stats_last ON job_stats (last_finished DESC, job_id) WHERE last_finished IS NOT NULL;
CREATE INDEX job_stats_late ON job_stats (job_id) WHERE late_since IS NOT NULL;

-- A stretch of instants answered together: after < due <= until.
CREATE TABLE gaps (
    job_id uuid NOT NULL,
    until bigint NOT NULL,
    "after" bigint NOT NULL,
    count integer NOT NULL CHECK (count >= 0),
    reason text NOT NULL,
    created bigint NOT NULL,
    PRIMARY KEY (job_id, until, "after"),
    CHECK ("after" <= until)
);

CREATE INDEX gaps_by_until ON gaps (until);

-- ── runs: the hot table of unfinished ones, and the history with the same columns ───────────────────────

-- Each row is written, changed once or twice, and deleted: room for the changes on its own page, and vacuum by number
-- of dead rows, at full speed, because the table is small.
CREATE TABLE runs_hot (
    id uuid PRIMARY KEY,
    job_id uuid NOT NULL,
    job text COLLATE "C" NOT NULL,
    due bigint NOT NULL,
    nominal bigint NOT NULL,
    "trigger" text NOT NULL CHECK (
        "trigger" IN ('schedule', 'manual', 'retry', 'backfill', 'step', 'after', 'start')
    ),
    created bigint NOT NULL,
    retry_of uuid,
    "key" text NOT NULL,
    actor text,
    -- From here on a write may change the column.
    revision integer NOT NULL,
    kind text COLLATE "C" NOT NULL,
    params text,
    state text COLLATE "C" NOT NULL CHECK (state IN ('queued', 'starting', 'running')),
    ready_at bigint NOT NULL,
    late_at bigint,
    reason text,
    attempts text,
    "current" text,
    failures integer NOT NULL,
    losses integer NOT NULL,
    released bigint,
    cancel text,
    session integer,
    started bigint,
    finished bigint,
    result text,
    -- Of the newest attempt, for lists and for finding what a worker holds; the error is case-folded for searches.
    worker text COLLATE "C",
    exit integer,
    error text,
    version integer NOT NULL CHECK (version >= 1),
    withdrawn text,
    shard smallint NOT NULL
) WITH (
    fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0
);

CREATE INDEX runs_hot_waiting ON runs_hot (kind, shard, ready_at, id) WHERE state = 'queued';
-- Both what is unfinished of a job, and what of it is released: each index less is a tenth of an assignment.
CREATE INDEX runs_hot_job ON runs_hot (job_id, (released IS NOT NULL), due);
CREATE INDEX runs_hot_held ON runs_hot (worker) WHERE state <> 'queued';
CREATE INDEX runs_hot_late ON runs_hot (late_at) WHERE late_at IS NOT NULL;
CREATE INDEX runs_hot_asked ON runs_hot (due, id)
    WHERE (cancel IS NOT NULL OR withdrawn IS NOT NULL) AND state <> 'queued';
CREATE INDEX runs_hot_starting ON runs_hot (ready_at, id) WHERE state = 'starting';

-- A run id begins with the milliseconds of its day, so a range of ids is a range of days. The default partition takes
-- what no day's partition was made for.
CREATE TABLE runs_history (
    id uuid NOT NULL,
    job_id uuid NOT NULL,
    job text COLLATE "C" NOT NULL,
    due bigint NOT NULL,
    nominal bigint NOT NULL,
    "trigger" text NOT NULL CHECK (
        "trigger" IN ('schedule', 'manual', 'retry', 'backfill', 'step', 'after', 'start')
    ),
    created bigint NOT NULL,
    retry_of uuid,
    "key" text NOT NULL,
    actor text,
    revision integer NOT NULL,
    kind text COLLATE "C" NOT NULL,
    params text,
    state text COLLATE "C" NOT NULL CHECK (
        state IN ('succeeded', 'failed', 'timed-out', 'cancelled', 'skipped', 'missed', 'lost')
    ),
    ready_at bigint NOT NULL,
    late_at bigint,
    reason text,
    attempts text,
    "current" text,
    failures integer NOT NULL,
    losses integer NOT NULL,
    released bigint,
    cancel text,
    session integer,
    started bigint,
    finished bigint,
    result text,
    worker text COLLATE "C",
    exit integer,
    error text,
    version integer NOT NULL CHECK (version >= 1),
    withdrawn text,
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);

CREATE INDEX runs_history_due ON runs_history (due, id);
-- Without the id: this is the one index that is written all over, so each byte of it counts. There is none on the end
-- of runs: retention drops days, and finds the rest in the order of ids, which is that of time.
CREATE INDEX runs_history_job ON runs_history (job_id, due);
-- Small ones for what people look for most: what went wrong, and instants that were spread.
CREATE INDEX runs_history_trouble ON runs_history (due, id) WHERE state <> 'succeeded' AND state <> 'skipped';
CREATE INDEX runs_history_job_trouble ON runs_history (job_id, due)
    WHERE state <> 'succeeded' AND state <> 'skipped';
CREATE INDEX runs_history_nominal ON runs_history (job_id, nominal) WHERE nominal <> due;

CREATE TABLE runs_history_default PARTITION OF runs_history DEFAULT;
-- Ids of 1970, of which there are none: PostgreSQL 18 forgets which scans are disabled where a table has one partition.
CREATE TABLE runs_history_1970 PARTITION OF runs_history
    FOR VALUES FROM (MINVALUE) TO ('000757b1-2c00-0000-0000-000000000000');

-- The keys of runs, hot and past: no unique index can span both tables.
CREATE TABLE run_keys (
    job_id uuid NOT NULL,
    "key" text COLLATE "C" NOT NULL,
    run_id uuid NOT NULL,
    PRIMARY KEY (job_id, "key")
);

CREATE INDEX run_keys_by_run ON run_keys (run_id);

-- ── workers ─────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE workers (
    name text COLLATE "C" PRIMARY KEY,
    boot_id text NOT NULL,
    session integer NOT NULL,
    server text COLLATE "C" NOT NULL,
    version text NOT NULL,
    labels text NOT NULL,
    capacity text NOT NULL,
    cpus integer NOT NULL,
    memory bigint NOT NULL,
    connected bigint NOT NULL,
    last_seen bigint NOT NULL,
    disconnected bigint,
    draining boolean NOT NULL,
    clock_offset double precision,
    settled bigint,
    boot_session integer NOT NULL CHECK (boot_session <= session),  -- the first session of the present process
    dial integer NOT NULL
) WITH (fillfactor = 70);

CREATE INDEX workers_open ON workers (name) WHERE settled IS NULL;
CREATE INDEX workers_settled ON workers (settled, name) WHERE settled IS NOT NULL;

-- ── output ──────────────────────────────────────────────────────────────────────────────────────────────

-- One row holds the chunks `sequence` to `last_sequence` of an attempt (more than one after they were merged).
CREATE TABLE output (
    run_id uuid NOT NULL,
    attempt integer NOT NULL,
    sequence integer NOT NULL,
    last_sequence integer NOT NULL,
    first_line bigint NOT NULL,
    lines bigint NOT NULL,
    "offset" bigint NOT NULL,
    bytes bigint NOT NULL,
    compressed boolean NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (run_id, attempt, sequence),
    CHECK (sequence <= last_sequence)
) PARTITION BY RANGE (run_id);

ALTER TABLE output ALTER COLUMN data SET STORAGE EXTERNAL;  -- it is compressed already

CREATE INDEX output_merged ON output (run_id, attempt, sequence) WHERE last_sequence > sequence;

CREATE TABLE output_default PARTITION OF output DEFAULT;
CREATE TABLE output_1970 PARTITION OF output FOR VALUES FROM (MINVALUE) TO ('000757b1-2c00-0000-0000-000000000000');
ALTER TABLE output_default ALTER COLUMN data SET STORAGE EXTERNAL;

-- ── alerts ──────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE notices (
    id text COLLATE "C" PRIMARY KEY,
    event text NOT NULL,
    route text NOT NULL,
    created bigint NOT NULL,
    thread text NOT NULL,
    job text,
    run_id uuid,
    facts text,
    state text NOT NULL CHECK (state IN ('pending', 'sent', 'given-up')),
    tries integer NOT NULL,
    next_try bigint,
    sent bigint,
    error text
);

CREATE INDEX notices_pending ON notices (created, id) WHERE state = 'pending';
CREATE INDEX notices_next_try ON notices ((coalesce(next_try, created))) WHERE state = 'pending';
CREATE INDEX notices_created ON notices (created, id);

CREATE TABLE conditions (
    key text COLLATE "C" PRIMARY KEY,
    detail text NOT NULL,
    since bigint NOT NULL,
    hint text
);

-- ── access ──────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE tokens (
    id text COLLATE "C" PRIMARY KEY,
    digest bytea NOT NULL UNIQUE,
    name text NOT NULL,
    scopes text NOT NULL,
    created bigint NOT NULL,
    expires bigint,
    last_used bigint,
    revoked bigint,
    worker text,
    uses integer,
    labels text
);

CREATE INDEX tokens_of_worker ON tokens (worker) WHERE worker IS NOT NULL;

CREATE TABLE logins (
    digest bytea PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('code', 'session')),
    token_id text NOT NULL,
    created bigint NOT NULL,
    expires bigint NOT NULL,
    csrf text NOT NULL
);

CREATE INDEX logins_expires ON logins (expires);

CREATE TABLE secrets (
    name text COLLATE "C" PRIMARY KEY,
    key_id text NOT NULL,
    nonce bytea NOT NULL,
    ciphertext bytea NOT NULL,
    updated bigint NOT NULL
);

CREATE TABLE answers (
    "key" text COLLATE "C" NOT NULL,
    actor text COLLATE "C" NOT NULL,
    request_digest bytea NOT NULL,
    status integer NOT NULL,
    body bytea NOT NULL,
    created bigint NOT NULL,
    PRIMARY KEY ("key", actor)
);

CREATE INDEX answers_created ON answers (created);

CREATE TABLE audit (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at bigint NOT NULL,
    actor text NOT NULL,
    verb text NOT NULL,
    object text NOT NULL,
    detail text NOT NULL,
    request_id text
);

-- ── time ────────────────────────────────────────────────────────────────────────────────────────────────

-- The store's clock. Volatile, and not now(): that stands still in a transaction, and who has waited for a lock would
-- be believed younger than it is.
CREATE FUNCTION rota_now() RETURNS bigint
LANGUAGE sql VOLATILE
AS 'SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint';

CREATE FUNCTION moment(micros bigint) RETURNS timestamptz
LANGUAGE sql IMMUTABLE
AS $$SELECT timestamptz '1970-01-01 00:00:00+00' + micros * interval '1 microsecond'$$;

-- ── rows as servers read them ───────────────────────────────────────────────────────────────────────────

CREATE VIEW jobs_1 AS
SELECT
    job.id, job.namespace, job.name, job.full_name, job.revision, at.version, at.shard, job.source, job.spec, at.cursor,
    at.next_at, job.created, job.updated, at.pause, at.broken, at.deleted, job.title, job.owner, job.schedule,
    job.labels, job.shadow, job.at_start, job.keeps
FROM jobs AS job JOIN job_cursors AS at ON at.job_id = job.id;

CREATE VIEW job_stats_1 AS
SELECT
    job_id, recent, fails_in_row, streak, alerted_at, last_run, last_state, last_due, last_finished, last_success,
    late_since, version
FROM job_stats;

CREATE VIEW runs_hot_1 AS
SELECT
    id, job_id, job, due, nominal, "trigger", created, retry_of, "key", actor, revision, kind, params, state, ready_at,
    late_at, reason, attempts, "current", failures, losses, released, cancel, session, started, finished, result,
    worker, exit, error, version, withdrawn
FROM runs_hot;

CREATE VIEW runs_history_1 AS
SELECT
    id, job_id, job, due, nominal, "trigger", created, retry_of, "key", actor, revision, kind, params, state, ready_at,
    late_at, reason, attempts, "current", failures, losses, released, cancel, session, started, finished, result,
    worker, exit, error, version, withdrawn
FROM runs_history;

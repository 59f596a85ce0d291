-- oldest_server: 1
-- Times are microseconds since 1970 in UTC. Nested values are JSON text. Text compares by code point (BINARY).
-- Lists of allowed words are written with OR: SQLite builds a table for each IN, for each row it checks.

CREATE TABLE migrations (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    oldest_server INTEGER NOT NULL  -- the lowest schema number a server must know to work on this database
) STRICT;

CREATE TABLE facts (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE fences (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    incarnation INTEGER NOT NULL CHECK (incarnation >= 1),
    next_counter INTEGER NOT NULL CHECK (next_counter >= 1)
) STRICT;

INSERT INTO fences (one, incarnation, next_counter) VALUES (1, 1, 1);

CREATE TABLE shards (
    shard INTEGER PRIMARY KEY,
    server TEXT NOT NULL,
    epoch INTEGER NOT NULL
) STRICT;

INSERT INTO shards (shard, server, epoch) VALUES (0, '', 0);

-- ── jobs ────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    full_name TEXT NOT NULL UNIQUE,
    revision INTEGER NOT NULL CHECK (revision >= 1),
    version INTEGER NOT NULL CHECK (version >= 1),
    shard INTEGER NOT NULL REFERENCES shards (shard),
    source TEXT,
    spec TEXT NOT NULL,
    cursor INTEGER NOT NULL,
    next_at INTEGER,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    pause TEXT,
    broken TEXT,
    deleted INTEGER,
    -- What lists filter by, taken out of the spec.
    title TEXT,
    owner TEXT,
    schedule TEXT,
    labels TEXT,
    shadow INTEGER NOT NULL CHECK (shadow = 0 OR shadow = 1),
    at_start INTEGER NOT NULL CHECK (at_start = 0 OR at_start = 1),
    keeps INTEGER NOT NULL CHECK (keeps = 0 OR keeps = 1)  -- has a retention of its own
) STRICT;

CREATE INDEX jobs_due ON jobs (shard, next_at) WHERE next_at IS NOT NULL AND deleted IS NULL AND broken IS NULL;
CREATE INDEX jobs_by_next ON jobs (coalesce(next_at, 9223372036854775807), id) WHERE deleted IS NULL;
CREATE INDEX jobs_by_namespace ON jobs (namespace) WHERE deleted IS NULL;
CREATE INDEX jobs_by_source ON jobs (source) WHERE source IS NOT NULL;
CREATE INDEX jobs_at_start ON jobs (full_name) WHERE at_start = 1;
CREATE INDEX jobs_keeping ON jobs (id) WHERE keeps = 1;
CREATE INDEX jobs_paused ON jobs (id) WHERE pause IS NOT NULL;

CREATE TABLE revisions (
    job_id TEXT NOT NULL REFERENCES jobs (id),
    revision INTEGER NOT NULL,
    spec TEXT NOT NULL,
    changed INTEGER NOT NULL,
    actor TEXT NOT NULL,
    source TEXT,
    PRIMARY KEY (job_id, revision)
) STRICT;

CREATE TABLE job_stats (
    job_id TEXT PRIMARY KEY REFERENCES jobs (id),
    recent TEXT NOT NULL,
    fails_in_row INTEGER NOT NULL,
    streak TEXT,
    alerted_at INTEGER,
    last_run TEXT,
    last_state TEXT CHECK (
        last_state = 'queued' OR last_state = 'starting' OR last_state = 'running'
        OR last_state = 'succeeded' OR last_state = 'failed' OR last_state = 'timed-out'
        OR last_state = 'cancelled' OR last_state = 'skipped' OR last_state = 'missed'
        OR last_state = 'lost'
    ),
    last_due INTEGER,
    last_finished INTEGER,
    last_success INTEGER,
    late_since INTEGER
) STRICT;

CREATE INDEX job_stats_failing ON job_stats (job_id) WHERE fails_in_row > 0;
CREATE INDEX job_stats_last ON job_stats (last_finished, job_id) WHERE last_finished IS NOT NULL;
CREATE INDEX job_stats_late ON job_stats (job_id) WHERE late_since IS NOT NULL;

-- A stretch of instants answered together: after < due <= until.
CREATE TABLE gaps (
    job_id TEXT NOT NULL REFERENCES jobs (id),
    until INTEGER NOT NULL,
    "after" INTEGER NOT NULL,
    count INTEGER NOT NULL CHECK (count >= 0),
    reason TEXT NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (job_id, until, "after"),
    CHECK ("after" <= until)
) STRICT, WITHOUT ROWID;

CREATE INDEX gaps_by_until ON gaps (until);

-- ── runs: the hot table of unfinished ones, and the history with the same columns ───────────────────────

CREATE TABLE runs_hot (
    id TEXT PRIMARY KEY,
    job_id TEXT NOT NULL REFERENCES jobs (id),
    job TEXT NOT NULL,
    due INTEGER NOT NULL,
    nominal INTEGER NOT NULL,
    "trigger" TEXT NOT NULL CHECK (
        "trigger" = 'schedule' OR "trigger" = 'manual' OR "trigger" = 'retry' OR "trigger" = 'backfill'
        OR "trigger" = 'step' OR "trigger" = 'after' OR "trigger" = 'start'
    ),
    created INTEGER NOT NULL,
    retry_of TEXT,
    "key" TEXT NOT NULL,
    actor TEXT,
    -- From here on a write may change the column.
    revision INTEGER NOT NULL,
    kind TEXT NOT NULL,
    params TEXT,
    state TEXT NOT NULL CHECK (state = 'queued' OR state = 'starting' OR state = 'running'),
    ready_at INTEGER NOT NULL,
    late_at INTEGER,
    reason TEXT,
    attempts TEXT,
    "current" TEXT,
    failures INTEGER NOT NULL,
    losses INTEGER NOT NULL,
    released INTEGER,
    cancel TEXT,
    session INTEGER,
    started INTEGER,
    finished INTEGER,
    result TEXT,
    -- Of the newest attempt, for lists and for finding what a worker holds.
    worker TEXT,
    exit INTEGER,
    error TEXT,
    version INTEGER NOT NULL CHECK (version >= 1)
) STRICT;

CREATE INDEX runs_hot_waiting ON runs_hot (kind, ready_at, id) WHERE state = 'queued';
CREATE INDEX runs_hot_job ON runs_hot (job_id, due);
CREATE INDEX runs_hot_released ON runs_hot (job_id) WHERE released IS NOT NULL;
CREATE INDEX runs_hot_held ON runs_hot (worker) WHERE state <> 'queued';
CREATE UNIQUE INDEX runs_hot_key ON runs_hot (job_id, "key") WHERE "key" <> '';
CREATE INDEX runs_hot_late ON runs_hot (late_at) WHERE late_at IS NOT NULL;

CREATE TABLE runs_history (
    id TEXT PRIMARY KEY,
    job_id TEXT NOT NULL,
    job TEXT NOT NULL,
    due INTEGER NOT NULL,
    nominal INTEGER NOT NULL,
    "trigger" TEXT NOT NULL CHECK (
        "trigger" = 'schedule' OR "trigger" = 'manual' OR "trigger" = 'retry' OR "trigger" = 'backfill'
        OR "trigger" = 'step' OR "trigger" = 'after' OR "trigger" = 'start'
    ),
    created INTEGER NOT NULL,
    retry_of TEXT,
    "key" TEXT NOT NULL,
    actor TEXT,
    revision INTEGER NOT NULL,
    kind TEXT NOT NULL,
    params TEXT,
    state TEXT NOT NULL CHECK (
        state = 'succeeded' OR state = 'failed' OR state = 'timed-out' OR state = 'cancelled'
        OR state = 'skipped' OR state = 'missed' OR state = 'lost'
    ),
    ready_at INTEGER NOT NULL,
    late_at INTEGER,
    reason TEXT,
    attempts TEXT,
    "current" TEXT,
    failures INTEGER NOT NULL,
    losses INTEGER NOT NULL,
    released INTEGER,
    cancel TEXT,
    session INTEGER,
    started INTEGER,
    finished INTEGER,
    result TEXT,
    worker TEXT,
    exit INTEGER,
    error TEXT,
    version INTEGER NOT NULL CHECK (version >= 1)
) STRICT;

CREATE INDEX runs_history_due ON runs_history (due, id);
-- Without the id: this is the one index that is written all over, so each byte of it counts.
CREATE INDEX runs_history_job ON runs_history (job_id, due);
CREATE INDEX runs_history_finished ON runs_history (finished);
-- Small ones for what people look for most: what went wrong, and instants that were spread.
CREATE INDEX runs_history_trouble ON runs_history (due, id)
    WHERE state <> 'succeeded' AND state <> 'skipped';
CREATE INDEX runs_history_job_trouble ON runs_history (job_id, due)
    WHERE state <> 'succeeded' AND state <> 'skipped';
CREATE UNIQUE INDEX runs_history_key ON runs_history (job_id, "key") WHERE "key" <> '';
CREATE INDEX runs_history_nominal ON runs_history (job_id, nominal) WHERE nominal <> due;

-- ── workers ─────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE workers (
    name TEXT PRIMARY KEY,
    boot_id TEXT NOT NULL,
    session INTEGER NOT NULL,
    server TEXT NOT NULL,
    version TEXT NOT NULL,
    labels TEXT NOT NULL,
    capacity TEXT NOT NULL,
    cpus INTEGER NOT NULL,
    memory INTEGER NOT NULL,
    connected INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    disconnected INTEGER
) STRICT;

-- ── output ──────────────────────────────────────────────────────────────────────────────────────────────

-- One row holds the chunks `sequence` to `last_sequence` of an attempt (more than one after they were merged).
CREATE TABLE output (
    run_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    last_sequence INTEGER NOT NULL,
    first_line INTEGER NOT NULL,
    lines INTEGER NOT NULL,
    "offset" INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    compressed INTEGER NOT NULL CHECK (compressed = 0 OR compressed = 1),
    data BLOB NOT NULL,
    PRIMARY KEY (run_id, attempt, sequence),
    CHECK (sequence <= last_sequence)
) STRICT;

-- ── alerts ──────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE notices (
    id TEXT PRIMARY KEY,
    event TEXT NOT NULL,
    route TEXT NOT NULL,
    created INTEGER NOT NULL,
    thread TEXT NOT NULL,
    job TEXT,
    run_id TEXT,
    facts TEXT,
    state TEXT NOT NULL CHECK (state = 'pending' OR state = 'sent' OR state = 'given-up'),
    tries INTEGER NOT NULL,
    next_try INTEGER,
    sent INTEGER,
    error TEXT
) STRICT;

CREATE INDEX notices_pending ON notices (created, id) WHERE state = 'pending';
CREATE INDEX notices_created ON notices (created, id);

CREATE TABLE conditions (
    key TEXT PRIMARY KEY,
    detail TEXT NOT NULL,
    since INTEGER NOT NULL,
    hint TEXT
) STRICT;

-- ── access ──────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL,
    scopes TEXT NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER,
    last_used INTEGER,
    revoked INTEGER
) STRICT;

CREATE TABLE logins (
    digest BLOB PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind = 'code' OR kind = 'session'),
    token_id TEXT NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    csrf TEXT NOT NULL
) STRICT;

CREATE INDEX logins_expires ON logins (expires);

CREATE TABLE secrets (
    name TEXT PRIMARY KEY,
    key_id TEXT NOT NULL,
    nonce BLOB NOT NULL,
    ciphertext BLOB NOT NULL,
    updated INTEGER NOT NULL
) STRICT;

CREATE TABLE answers (
    "key" TEXT NOT NULL,
    actor TEXT NOT NULL,
    request_digest BLOB NOT NULL,
    status INTEGER NOT NULL,
    body BLOB NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY ("key", actor)
) STRICT;

CREATE INDEX answers_created ON answers (created);

CREATE TABLE audit (
    number INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    verb TEXT NOT NULL,
    object TEXT NOT NULL,
    detail TEXT NOT NULL,
    request_id TEXT
) STRICT;

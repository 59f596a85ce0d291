-- oldest_server: 2
-- The verbs that look under locks before they write, each one autocommit statement: `SELECT rota_assign_1(…)`.
--
-- A client that stops, or is cut off, between two statements of a transaction holds its locks; here there is nothing
-- between them. And inside a VOLATILE function each command sees what was committed before that command: so "lock, then
-- look, then write" is right, where a single statement with CTEs would look with the snapshot it took before it waited.
--
-- There is no rule of Rota in here: locks, comparisons, writes. Lock order everywhere: server, shard, session
-- (workers), job (its cursor, then its counters), run, each sorted by id. What a run's version or a session number must
-- be is compared by the locking or writing command itself, which looks again at a row it had to wait for.
--
-- Rows are found by `id BETWEEN given.id AND given.id`, not by `=`. While a table is small the planner would rather
-- read all of it and compare, and that plan is kept when the table has grown; for BETWEEN there is no other way than
-- one step into the index for each element, whatever statistics say; ordering is by the element, so that no index is
-- read for its order either. LATERAL with OFFSET 0 does the same for questions.
--
-- Batches come as arrays of the types below; callers sort them by id. Verbs say what they did NOT do, so that answers
-- are small: a client that does not read must not keep a transaction from its end.

-- ── what callers hand over ──────────────────────────────────────────────────────────────────────────────

CREATE TYPE run_row_1 AS (
    id uuid, job_id uuid, job text, due bigint, nominal bigint, "trigger" text, created bigint, retry_of uuid,
    "key" text, actor text, revision integer, kind text, params text, state text, ready_at bigint, late_at bigint,
    reason text, attempts text, "current" text, failures integer, losses integer, released bigint, cancel text,
    session integer, started bigint, finished bigint, result text, worker text, exit integer, error text,
    version integer, withdrawn text,
    shard smallint
);

CREATE TYPE run_change_1 AS (
    id uuid, job_id uuid,
    expected integer,  -- the version the stored row must have
    round integer,  -- changes of one batch that must see each other have different ones
    alone boolean,  -- no other run of the job may be released and unfinished
    revision integer, kind text, params text, state text, ready_at bigint, late_at bigint, reason text, attempts text,
    "current" text, failures integer, losses integer, released bigint, cancel text, session integer, started bigint,
    finished bigint, result text, worker text, exit integer, error text, version integer, withdrawn text
);

CREATE TYPE plan_row_1 AS (
    job_id uuid, expected integer, cursor bigint, next_at bigint, pause text, broken text
);

CREATE TYPE job_write_1 AS (
    id uuid, namespace text, name text, full_name text, revision integer, version integer, shard smallint, source text,
    spec text, cursor bigint, next_at bigint, created bigint, updated bigint, pause text, broken text, deleted bigint,
    title text, owner text, schedule text, labels text, shadow boolean, at_start boolean, keeps boolean, searched text,
    expected integer
);

CREATE TYPE revision_row_1 AS (job_id uuid, revision integer, spec text, changed bigint, actor text, source text);

CREATE TYPE stats_row_1 AS (
    job_id uuid, recent text, fails_in_row integer, streak uuid, alerted_at bigint, last_run uuid, last_state text,
    last_due bigint, last_finished bigint, last_success bigint, late_since bigint, version integer
);

CREATE TYPE gap_row_1 AS (job_id uuid, until bigint, "after" bigint, count integer, reason text, created bigint);

CREATE TYPE notice_row_1 AS (
    id text, event text, route text, created bigint, thread text, job text, run_id uuid, facts text, state text,
    tries integer, next_try bigint, sent bigint, error text,
    of_job uuid  -- in a plan: the job whose plan must be taken for it
);

CREATE TYPE audit_row_1 AS (at bigint, actor text, verb text, object text, detail text, request_id text);

CREATE TYPE output_row_1 AS (
    run_id uuid, attempt integer, sequence integer, last_sequence integer, first_line bigint, lines bigint,
    "offset" bigint, bytes bigint, compressed boolean, data bytea
);

CREATE TYPE token_row_1 AS (
    id text, digest bytea, name text, scopes text, created bigint, expires bigint, last_used bigint, revoked bigint,
    worker text, uses integer, labels text
);

-- ── parts of verbs ──────────────────────────────────────────────────────────────────────────────────────

CREATE FUNCTION rota_add_audit_1(p_audit audit_row_1[]) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO audit (at, actor, verb, object, detail, request_id)
    SELECT at, actor, verb, object, detail, request_id FROM unnest(p_audit);
END
$$;

CREATE FUNCTION rota_add_notices_1(p_notices notice_row_1[]) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO notices (
        id, event, route, created, thread, job, run_id, facts, state, tries, next_try, sent, error
    )
    SELECT id, event, route, created, thread, job, run_id, facts, state, tries, next_try, sent, error
    FROM unnest(p_notices)
    ON CONFLICT (id) DO NOTHING;
END
$$;

CREATE FUNCTION rota_add_gaps_1(p_gaps gap_row_1[]) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO gaps (job_id, until, "after", count, reason, created)
    SELECT job_id, until, "after", count, reason, created FROM unnest(p_gaps)
    ON CONFLICT (job_id, until, "after") DO NOTHING;
END
$$;

-- Writes counters whose versions are as their writer saw them; returns how many. A first version is an insert.
CREATE FUNCTION rota_put_stats_1(p_stats stats_row_1[]) RETURNS integer
LANGUAGE plpgsql
AS $$
DECLARE
    v_changed integer;
    v_new integer := 0;
BEGIN
    UPDATE job_stats AS kept SET
        recent = s.recent, fails_in_row = s.fails_in_row, streak = s.streak, alerted_at = s.alerted_at,
        last_run = s.last_run, last_state = s.last_state, last_due = s.last_due, last_finished = s.last_finished,
        last_success = s.last_success, late_since = s.late_since, version = s.version
    FROM unnest(p_stats) AS s
    WHERE kept.job_id BETWEEN s.job_id AND s.job_id AND kept.version = s.version - 1;
    GET DIAGNOSTICS v_changed = ROW_COUNT;
    IF v_changed < cardinality(p_stats) THEN
        INSERT INTO job_stats (
            job_id, recent, fails_in_row, streak, alerted_at, last_run, last_state, last_due, last_finished,
            last_success, late_since, version
        )
        SELECT
            job_id, recent, fails_in_row, streak, alerted_at, last_run, last_state, last_due, last_finished,
            last_success, late_since, version
        FROM unnest(p_stats) AS s WHERE s.version = 1
        ON CONFLICT (job_id) DO NOTHING;
        GET DIAGNOSTICS v_new = ROW_COUNT;
    END IF;
    RETURN v_changed + v_new;
END
$$;

-- The jobs of these counters that are not as their writer saw them. The rows are locked: what is not moved stays so.
CREATE FUNCTION rota_moved_stats_1(p_stats stats_row_1[]) RETURNS uuid[]
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM 1 FROM unnest(p_stats) AS s JOIN job_stats AS kept ON kept.job_id BETWEEN s.job_id AND s.job_id
    ORDER BY s.job_id FOR UPDATE OF kept;
    RETURN ARRAY(
        SELECT s.job_id FROM unnest(p_stats) AS s
        LEFT JOIN job_stats AS kept ON kept.job_id BETWEEN s.job_id AND s.job_id
        WHERE coalesce(kept.version, 0) <> s.version - 1
    );
END
$$;

-- Adds runs that do not exist yet, hot or past; says of each other one which run is stored in its place.
-- The caller holds the locks of the jobs: nobody else can create a run of theirs, so what is not there now is not there
-- when it is inserted. Both tables are looked at in one command, since a run may move from one to the other meanwhile.
CREATE FUNCTION rota_add_runs_1(p_hot run_row_1[], p_past run_row_1[], p_ids uuid[], p_keyed boolean)
RETURNS TABLE (given uuid, stored uuid)
LANGUAGE plpgsql
AS $$
DECLARE
    v_low uuid := p_ids[1];
    v_high uuid := p_ids[cardinality(p_ids)];
    v_left_out uuid[];
BEGIN
    v_left_out := ARRAY(
        SELECT wanted.id FROM unnest(p_ids) AS wanted (id)
        WHERE EXISTS (SELECT 1 FROM runs_hot AS hot WHERE hot.id BETWEEN wanted.id AND wanted.id)
            OR EXISTS (
                SELECT 1 FROM runs_history AS past
                WHERE past.id BETWEEN wanted.id AND wanted.id AND past.id BETWEEN v_low AND v_high
            )
    );
    RETURN QUERY SELECT known.id, known.id FROM unnest(v_left_out) AS known (id);
    IF p_keyed THEN
        INSERT INTO run_keys (job_id, "key", run_id)
        SELECT r.job_id, r."key", r.id FROM unnest(p_hot || p_past) AS r
        WHERE r."key" <> '' AND r.id <> ALL (v_left_out)
        ON CONFLICT (job_id, "key") DO NOTHING;
        RETURN QUERY
            SELECT r.id, kept.run_id FROM unnest(p_hot || p_past) AS r CROSS JOIN LATERAL (
                SELECT of_key.run_id FROM run_keys AS of_key
                WHERE of_key.job_id = r.job_id AND of_key."key" = r."key" OFFSET 0
            ) AS kept
            WHERE r."key" <> '' AND kept.run_id <> r.id AND r.id <> ALL (v_left_out);
        v_left_out := v_left_out || ARRAY(
            SELECT r.id FROM unnest(p_hot || p_past) AS r CROSS JOIN LATERAL (
                SELECT of_key.run_id FROM run_keys AS of_key
                WHERE of_key.job_id = r.job_id AND of_key."key" = r."key" OFFSET 0
            ) AS kept
            WHERE r."key" <> '' AND kept.run_id <> r.id
        );
    END IF;
    IF cardinality(v_left_out) > 0 THEN
        p_hot := ARRAY(SELECT r::run_row_1 FROM unnest(p_hot) AS r WHERE r.id <> ALL (v_left_out));
        p_past := ARRAY(SELECT r::run_row_1 FROM unnest(p_past) AS r WHERE r.id <> ALL (v_left_out));
    END IF;
    IF cardinality(p_hot) > 0 THEN
        INSERT INTO runs_hot (
            id, job_id, job, due, nominal, "trigger", created, retry_of, "key", actor, revision, kind, params, state,
            ready_at, late_at, reason, attempts, "current", failures, losses, released, cancel, session, started,
            finished, result, worker, exit, error, version, withdrawn, shard
        )
        SELECT
            r.id, r.job_id, r.job, r.due, r.nominal, r."trigger", r.created, r.retry_of, r."key", r.actor, r.revision,
            r.kind, r.params, r.state, r.ready_at, r.late_at, r.reason, r.attempts, r."current", r.failures, r.losses,
            r.released, r.cancel, r.session, r.started, r.finished, r.result, r.worker, r.exit, r.error, r.version,
            r.withdrawn, r.shard
        FROM unnest(p_hot) AS r;
    END IF;
    IF cardinality(p_past) > 0 THEN
        INSERT INTO runs_history (
            id, job_id, job, due, nominal, "trigger", created, retry_of, "key", actor, revision, kind, params, state,
            ready_at, late_at, reason, attempts, "current", failures, losses, released, cancel, session, started,
            finished, result, worker, exit, error, version, withdrawn
        )
        SELECT
            r.id, r.job_id, r.job, r.due, r.nominal, r."trigger", r.created, r.retry_of, r."key", r.actor, r.revision,
            r.kind, r.params, r.state, r.ready_at, r.late_at, r.reason, r.attempts, r."current", r.failures, r.losses,
            r.released, r.cancel, r.session, r.started, r.finished, r.result, r.worker, r.exit, r.error, r.version,
            r.withdrawn
        FROM unnest(p_past) AS r;
    END IF;
END
$$;

-- Writes those changes of a round whose run, session and job are as the decision assumed; returns their ids.
-- `p_live`: the workers whose sessions hold, which the caller has locked, as it has the jobs of changes that want to be
-- alone; NULL where nothing is given to a worker: then a run that is with one may change whatever its session.
CREATE FUNCTION rota_write_changes_1(
    p_kept run_change_1[], p_ended run_change_1[], p_round integer, p_live text[]
) RETURNS uuid[]
LANGUAGE plpgsql
AS $$
DECLARE
    v_written uuid[] := '{}';
    v_ended uuid[] := '{}';
BEGIN
    IF cardinality(p_kept) > 0 THEN
        WITH written AS (
            UPDATE runs_hot AS hot SET
                revision = c.revision, kind = c.kind, params = c.params, state = c.state, ready_at = c.ready_at,
                late_at = c.late_at, reason = c.reason, attempts = c.attempts, "current" = c."current",
                failures = c.failures, losses = c.losses, released = c.released, cancel = c.cancel,
                session = c.session, started = c.started, finished = c.finished, result = c.result, worker = c.worker,
                exit = c.exit, error = c.error, version = c.version, withdrawn = c.withdrawn
            FROM unnest(p_kept) AS c
            WHERE c.round = p_round AND hot.id BETWEEN c.id AND c.id AND hot.version = c.expected
                AND (p_live IS NULL OR c.state <> 'starting' OR c.worker = ANY (p_live))
                AND (NOT c.alone OR NOT EXISTS (
                    SELECT 1 FROM runs_hot AS other
                    WHERE other.job_id = c.job_id AND other.released IS NOT NULL AND other.id <> c.id
                ))
            RETURNING hot.id
        )
        SELECT array_agg(id) FROM written INTO v_written;
    END IF;
    IF cardinality(p_ended) > 0 THEN
        WITH gone AS (
            DELETE FROM runs_hot AS hot USING unnest(p_ended) AS c
            WHERE c.round = p_round AND hot.id BETWEEN c.id AND c.id AND hot.version = c.expected
                AND (NOT c.alone OR NOT EXISTS (
                    SELECT 1 FROM runs_hot AS other
                    WHERE other.job_id = c.job_id AND other.released IS NOT NULL AND other.id <> c.id
                ))
            RETURNING
                hot.id, hot.job_id, hot.job, hot.due, hot.nominal, hot."trigger", hot.created, hot.retry_of,
                hot."key", hot.actor,
                c.revision, c.kind, c.params, c.state, c.ready_at, c.late_at, c.reason, c.attempts, c."current",
                c.failures, c.losses, c.released, c.cancel, c.session, c.started, c.finished, c.result, c.worker,
                c.exit, c.error, c.version, c.withdrawn
        ), kept AS (
            INSERT INTO runs_history (
                id, job_id, job, due, nominal, "trigger", created, retry_of, "key", actor, revision, kind, params,
                state, ready_at, late_at, reason, attempts, "current", failures, losses, released, cancel, session,
                started, finished, result, worker, exit, error, version, withdrawn
            )
            SELECT * FROM gone
            RETURNING id
        )
        SELECT array_agg(id) FROM kept INTO v_ended;
    END IF;
    RETURN coalesce(v_written, '{}') || coalesce(v_ended, '{}');
END
$$;

-- Writes all these changes, none of which is alone or looks at a session; returns how many there were to write.
CREATE FUNCTION rota_write_runs_1(p_kept run_change_1[], p_ended run_change_1[]) RETURNS integer
LANGUAGE plpgsql
AS $$
DECLARE
    v_written integer := 0;
    v_ended integer := 0;
BEGIN
    IF cardinality(p_kept) > 0 THEN
        UPDATE runs_hot AS hot SET
            revision = c.revision, kind = c.kind, params = c.params, state = c.state, ready_at = c.ready_at,
            late_at = c.late_at, reason = c.reason, attempts = c.attempts, "current" = c."current",
            failures = c.failures, losses = c.losses, released = c.released, cancel = c.cancel, session = c.session,
            started = c.started, finished = c.finished, result = c.result, worker = c.worker, exit = c.exit,
            error = c.error, version = c.version, withdrawn = c.withdrawn
        FROM unnest(p_kept) AS c
        WHERE hot.id BETWEEN c.id AND c.id AND hot.version = c.expected;
        GET DIAGNOSTICS v_written = ROW_COUNT;
    END IF;
    IF cardinality(p_ended) > 0 THEN
        WITH gone AS (
            DELETE FROM runs_hot AS hot USING unnest(p_ended) AS c
            WHERE hot.id BETWEEN c.id AND c.id AND hot.version = c.expected
            RETURNING
                hot.id, hot.job_id, hot.job, hot.due, hot.nominal, hot."trigger", hot.created, hot.retry_of,
                hot."key", hot.actor,
                c.revision, c.kind, c.params, c.state, c.ready_at, c.late_at, c.reason, c.attempts, c."current",
                c.failures, c.losses, c.released, c.cancel, c.session, c.started, c.finished, c.result, c.worker,
                c.exit, c.error, c.version, c.withdrawn
        ), kept AS (
            INSERT INTO runs_history (
                id, job_id, job, due, nominal, "trigger", created, retry_of, "key", actor, revision, kind, params,
                state, ready_at, late_at, reason, attempts, "current", failures, losses, released, cancel, session,
                started, finished, result, worker, exit, error, version, withdrawn
            )
            SELECT * FROM gone
            RETURNING id
        )
        SELECT count(*) FROM kept INTO v_ended;
    END IF;
    RETURN v_written + v_ended;
END
$$;

-- ── runs ────────────────────────────────────────────────────────────────────────────────────────────────

-- `p_jobs`: the jobs of the runs, each once, sorted.
CREATE FUNCTION rota_create_1(
    p_hot run_row_1[], p_past run_row_1[], p_ids uuid[], p_keyed boolean, p_jobs uuid[], p_audit audit_row_1[]
) RETURNS TABLE (given uuid, stored uuid)
LANGUAGE plpgsql
AS $$
DECLARE
    v_jobs integer;
BEGIN
    PERFORM 1 FROM unnest(p_jobs) AS wanted (id) JOIN job_cursors AS at ON at.job_id BETWEEN wanted.id AND wanted.id
    ORDER BY wanted.id FOR UPDATE OF at;
    GET DIAGNOSTICS v_jobs = ROW_COUNT;
    IF v_jobs < cardinality(p_jobs) THEN
        RAISE foreign_key_violation USING MESSAGE = 'a run of a job that does not exist';
    END IF;
    PERFORM rota_add_audit_1(p_audit);
    RETURN QUERY SELECT added.given, added.stored FROM rota_add_runs_1(p_hot, p_past, p_ids, p_keyed) AS added;
END
$$;

-- Returns the runs that were not written. `p_alone`: the jobs of changes that want to be alone, sorted: while these are
-- locked nobody else can release a run of theirs that wants the same. `p_rounds`: the highest round.
CREATE FUNCTION rota_assign_1(
    p_kept run_change_1[], p_ended run_change_1[], p_ids uuid[], p_rounds integer, p_alone uuid[], p_workers text[],
    p_sessions integer[]
) RETURNS uuid[]
LANGUAGE plpgsql
AS $$
DECLARE
    v_live text[];
    v_written uuid[] := '{}';
BEGIN
    v_live := ARRAY(
        SELECT worker.name FROM unnest(p_workers, p_sessions) AS wanted (name, session)
        JOIN workers AS worker ON worker.name BETWEEN wanted.name AND wanted.name
        WHERE worker.session = wanted.session AND worker.disconnected IS NULL
        ORDER BY wanted.name FOR SHARE OF worker
    );
    IF cardinality(p_alone) > 0 THEN
        PERFORM 1 FROM unnest(p_alone) AS wanted (id)
        JOIN job_cursors AS at ON at.job_id BETWEEN wanted.id AND wanted.id
        ORDER BY wanted.id FOR UPDATE OF at;
    END IF;
    FOR v_round IN 0 .. p_rounds LOOP
        v_written := v_written || rota_write_changes_1(p_kept, p_ended, v_round, v_live);
    END LOOP;
    IF p_rounds = 0 AND cardinality(v_written) = cardinality(p_ids) THEN
        RETURN '{}';
    END IF;
    RETURN ARRAY(SELECT unnest(p_ids) EXCEPT SELECT unnest(v_written));
END
$$;

-- All or nothing. `fenced`: why somebody else judges these attempts; `moved_runs`, `moved_jobs`: whose versions differ.
CREATE FUNCTION rota_record_1(
    p_kept run_change_1[], p_ended run_change_1[], p_stats stats_row_1[], p_notices notice_row_1[],
    p_audit audit_row_1[],
    p_workers text[], p_sessions integer[],  -- which sessions must be the newest of their workers
    p_servers text[], p_lapsed bigint[],  -- how long ago the leases of servers must have ended, in microseconds
    OUT fenced text, OUT moved_runs uuid[], OUT moved_jobs uuid[]
)
LANGUAGE plpgsql
AS $$
BEGIN
    IF p_workers IS NOT NULL THEN
        fenced := rota_guard_1(p_workers, p_sessions, p_servers, p_lapsed);
        IF fenced IS NOT NULL THEN
            RETURN;
        END IF;
    END IF;
    BEGIN
        IF cardinality(p_stats) > 0 AND rota_put_stats_1(p_stats) < cardinality(p_stats) THEN
            RAISE SQLSTATE 'RT001';
        END IF;
        IF rota_write_runs_1(p_kept, p_ended) < cardinality(p_kept) + cardinality(p_ended) THEN
            RAISE SQLSTATE 'RT001';
        END IF;
    EXCEPTION WHEN SQLSTATE 'RT001' THEN  -- with this block, everything in it is undone
        moved_runs := ARRAY(
            SELECT c.id FROM unnest(p_kept || p_ended) AS c LEFT JOIN runs_hot AS hot ON hot.id BETWEEN c.id AND c.id
            WHERE hot.version IS DISTINCT FROM c.expected
        );
        moved_jobs := rota_moved_stats_1(p_stats);
        IF cardinality(moved_runs) + cardinality(moved_jobs) = 0 THEN
            RAISE serialization_failure;  -- what had moved has moved back: once more from the beginning
        END IF;
        RETURN;
    END;
    IF cardinality(p_notices) > 0 THEN
        PERFORM rota_add_notices_1(p_notices);
    END IF;
    IF cardinality(p_audit) > 0 THEN
        PERFORM rota_add_audit_1(p_audit);
    END IF;
END
$$;

-- Why attempts may not be called lost, or NULL; what it rests on stays so until the transaction ends.
CREATE FUNCTION rota_guard_1(p_workers text[], p_sessions integer[], p_servers text[], p_lapsed bigint[]) RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
    v_server text;
    v_now bigint;
BEGIN
    PERFORM 1 FROM unnest(p_servers) AS wanted (id)
    JOIN servers AS server ON server.id BETWEEN wanted.id AND wanted.id
    ORDER BY wanted.id FOR SHARE OF server;
    PERFORM 1 FROM unnest(p_workers) AS wanted (name)
    JOIN workers AS worker ON worker.name BETWEEN wanted.name AND wanted.name
    ORDER BY wanted.name FOR SHARE OF worker;
    IF EXISTS (
        SELECT 1 FROM unnest(p_workers, p_sessions) AS wanted (name, session)
        LEFT JOIN workers AS worker ON worker.name BETWEEN wanted.name AND wanted.name
        WHERE worker.session IS DISTINCT FROM wanted.session
    ) THEN
        RETURN 'session';
    END IF;
    v_now := rota_now();
    SELECT server.id FROM unnest(p_servers, p_lapsed) AS wanted (id, micros)
    JOIN servers AS server ON server.id BETWEEN wanted.id AND wanted.id
    WHERE server.lease_until + wanted.micros > v_now
    LIMIT 1 INTO v_server;
    RETURN 'server ' || v_server;
END
$$;

-- ── jobs ────────────────────────────────────────────────────────────────────────────────────────────────

-- Returns NULL when an epoch is no longer current (nothing is written then), else the jobs whose plans were left out.
CREATE FUNCTION rota_commit_plan_1(
    p_plans plan_row_1[], p_hot run_row_1[], p_past run_row_1[], p_ids uuid[], p_keyed boolean, p_gaps gap_row_1[],
    p_stats stats_row_1[], p_notices notice_row_1[], p_shards integer[], p_epochs bigint[]
) RETURNS uuid[]
LANGUAGE plpgsql
AS $$
DECLARE
    v_current integer;
    v_moved uuid[] := '{}';
    v_taken uuid[];
    v_left_out uuid[] := '{}';
BEGIN
    PERFORM 1 FROM unnest(p_shards, p_epochs) AS wanted (shard, epoch)
    JOIN shards AS led ON led.shard BETWEEN wanted.shard AND wanted.shard AND led.epoch = wanted.epoch
    ORDER BY wanted.shard FOR SHARE OF led;
    GET DIAGNOSTICS v_current = ROW_COUNT;
    IF v_current < cardinality(p_shards) THEN
        RETURN NULL;
    END IF;
    IF cardinality(p_stats) > 0 THEN
        PERFORM 1 FROM unnest(p_stats) AS s JOIN job_cursors AS at ON at.job_id BETWEEN s.job_id AND s.job_id
        ORDER BY s.job_id FOR UPDATE OF at;
        v_moved := rota_moved_stats_1(p_stats);
    END IF;
    WITH moved AS (
        UPDATE job_cursors AS at SET
            version = p.expected + 1, cursor = p.cursor, next_at = p.next_at, pause = p.pause, broken = p.broken
        FROM unnest(p_plans) AS p
        WHERE at.job_id BETWEEN p.job_id AND p.job_id AND at.version = p.expected
            AND coalesce(at.deleted, -1) = -1  -- IS NULL would invite it to read a partial index from end to end
            AND p.job_id <> ALL (v_moved)
        RETURNING at.job_id
    )
    SELECT coalesce(array_agg(job_id), '{}') FROM moved INTO v_taken;
    IF cardinality(v_taken) < cardinality(p_plans) THEN
        v_left_out := ARRAY(SELECT p.job_id FROM unnest(p_plans) AS p EXCEPT SELECT unnest(v_taken));
        p_hot := ARRAY(SELECT r::run_row_1 FROM unnest(p_hot) AS r WHERE r.job_id = ANY (v_taken));
        p_past := ARRAY(SELECT r::run_row_1 FROM unnest(p_past) AS r WHERE r.job_id = ANY (v_taken));
        p_ids := ARRAY(SELECT r.id FROM unnest(p_hot || p_past) AS r ORDER BY r.id);
        p_gaps := ARRAY(SELECT g::gap_row_1 FROM unnest(p_gaps) AS g WHERE g.job_id = ANY (v_taken));
        p_stats := ARRAY(SELECT s::stats_row_1 FROM unnest(p_stats) AS s WHERE s.job_id = ANY (v_taken));
        p_notices := ARRAY(SELECT n::notice_row_1 FROM unnest(p_notices) AS n WHERE n.of_job = ANY (v_taken));
    END IF;
    IF cardinality(p_ids) > 0 THEN
        PERFORM FROM rota_add_runs_1(p_hot, p_past, p_ids, p_keyed);
    END IF;
    IF cardinality(p_gaps) > 0 THEN
        PERFORM rota_add_gaps_1(p_gaps);
    END IF;
    IF cardinality(p_stats) > 0 AND rota_put_stats_1(p_stats) < cardinality(p_stats) THEN
        RAISE serialization_failure;  -- somebody wrote first counters meanwhile: there was no row to lock
    END IF;
    IF cardinality(p_notices) > 0 THEN
        PERFORM rota_add_notices_1(p_notices);
    END IF;
    RETURN v_left_out;
END
$$;

-- All or nothing: returns the full names of jobs whose versions, whose counters' versions, or the versions of whose
-- waiting runs differ.
-- Each job comes once in `p_writes`; `p_kept` and `p_ended` are changes of its queued runs.
CREATE FUNCTION rota_apply_1(
    p_writes job_write_1[], p_revisions revision_row_1[], p_hot run_row_1[], p_past run_row_1[], p_ids uuid[],
    p_keyed boolean, p_gaps gap_row_1[], p_kept run_change_1[], p_ended run_change_1[], p_rounds integer,
    p_stats stats_row_1[], p_notices notice_row_1[], p_audit audit_row_1[]
) RETURNS text[]
LANGUAGE plpgsql
AS $$
DECLARE
    v_locked integer;
    v_new integer;
    v_moved uuid[] := '{}';
    v_conflicts text[];
BEGIN
    PERFORM 1 FROM unnest(p_writes) AS w JOIN job_cursors AS at ON at.job_id BETWEEN w.id AND w.id
    ORDER BY w.id FOR UPDATE OF at;
    GET DIAGNOSTICS v_locked = ROW_COUNT;
    IF cardinality(p_stats) > 0 THEN
        v_moved := rota_moved_stats_1(p_stats);
    END IF;
    v_conflicts := ARRAY(
        SELECT w.full_name FROM unnest(p_writes) WITH ORDINALITY AS w
        LEFT JOIN job_cursors AS at ON at.job_id BETWEEN w.id AND w.id
        WHERE w.id = ANY (v_moved)
            OR (w.expected <> coalesce(at.version, 0) AND NOT (w.expected = 0 AND at.deleted IS NOT NULL))
        ORDER BY w.ordinality
    );
    IF cardinality(p_kept) + cardinality(p_ended) > 0 THEN
        -- What was decided about a run that has since been given to a worker must be decided anew. Only the first of
        -- several changes of a run tells what the run was; the others build on it.
        PERFORM 1 FROM unnest(p_kept || p_ended) AS c JOIN runs_hot AS hot ON hot.id BETWEEN c.id AND c.id
        ORDER BY c.id FOR UPDATE OF hot;
        v_conflicts := v_conflicts || ARRAY(
            SELECT DISTINCT hot.job FROM unnest(p_kept || p_ended) AS c
            JOIN runs_hot AS hot ON hot.id BETWEEN c.id AND c.id
            WHERE c.round = 0 AND hot.version <> c.expected AND hot.state IN ('queued', 'starting')
        );
    END IF;
    IF cardinality(v_conflicts) > 0 THEN
        RETURN v_conflicts;
    END IF;
    UPDATE job_cursors AS at SET
        shard = w.shard, version = w.version, cursor = w.cursor, next_at = w.next_at, pause = w.pause,
        broken = w.broken, deleted = w.deleted
    FROM unnest(p_writes) AS w WHERE at.job_id BETWEEN w.id AND w.id;
    IF v_locked < cardinality(p_writes) THEN
        INSERT INTO job_cursors (job_id, shard, version, cursor, next_at, pause, broken, deleted)
        SELECT w.id, w.shard, w.version, w.cursor, w.next_at, w.pause, w.broken, w.deleted FROM unnest(p_writes) AS w
        WHERE NOT EXISTS (SELECT 1 FROM job_cursors AS at WHERE at.job_id BETWEEN w.id AND w.id)
        ON CONFLICT (job_id) DO NOTHING;
        GET DIAGNOSTICS v_new = ROW_COUNT;
        IF v_locked + v_new < cardinality(p_writes) THEN
            RAISE serialization_failure;  -- somebody created one of them meanwhile: there was no row to lock
        END IF;
    END IF;
    INSERT INTO jobs AS job (
        id, namespace, name, full_name, revision, source, spec, created, updated, deleted, title, owner, schedule,
        labels, shadow, at_start, keeps, searched
    )
    SELECT
        w.id, w.namespace, w.name, w.full_name, w.revision, w.source, w.spec, w.created, w.updated, w.deleted, w.title,
        w.owner, w.schedule, w.labels, w.shadow, w.at_start, w.keeps, w.searched
    FROM unnest(p_writes) AS w
    ON CONFLICT (id) DO UPDATE SET
        revision = excluded.revision, source = excluded.source, spec = excluded.spec, created = excluded.created,
        updated = excluded.updated, deleted = excluded.deleted, title = excluded.title, owner = excluded.owner,
        schedule = excluded.schedule, labels = excluded.labels, shadow = excluded.shadow,
        at_start = excluded.at_start, keeps = excluded.keeps, searched = excluded.searched;
    INSERT INTO revisions (job_id, revision, spec, changed, actor, source)
    SELECT job_id, revision, spec, changed, actor, source FROM unnest(p_revisions)
    ON CONFLICT (job_id, revision) DO NOTHING;
    IF cardinality(p_ids) > 0 THEN
        PERFORM FROM rota_add_runs_1(p_hot, p_past, p_ids, p_keyed);
    END IF;
    PERFORM rota_add_gaps_1(p_gaps);
    FOR v_round IN 0 .. p_rounds LOOP
        PERFORM rota_write_changes_1(p_kept, p_ended, v_round, NULL);
    END LOOP;
    IF cardinality(p_stats) > 0 AND rota_put_stats_1(p_stats) < cardinality(p_stats) THEN
        RAISE serialization_failure;  -- somebody wrote first counters meanwhile
    END IF;
    PERFORM rota_add_notices_1(p_notices);
    PERFORM rota_add_audit_1(p_audit);
    RETURN '{}';
END
$$;

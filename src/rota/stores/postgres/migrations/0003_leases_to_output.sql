-- oldest_server: 3
-- The other verbs that look under locks before they write: servers and shards, workers, access, output, retention.

CREATE TYPE worker_row_1 AS (
    name text, boot_id text, server text, version text, labels text, capacity text, cpus integer, memory bigint,
    connected bigint, last_seen bigint, disconnected bigint, draining boolean, clock_offset double precision,
    settled bigint, dial integer
);

-- ── servers and shards ──────────────────────────────────────────────────────────────────────────────────

-- `p_until`: the end of a lease that needs no renewal. `p_forget`: rows whose lease ended so long ago go.
CREATE FUNCTION rota_join_1(
    p_id text, p_name text, p_url text, p_version text, p_lease bigint, p_until bigint, p_alone boolean,
    p_forget bigint
) RETURNS TABLE (
    id text, name text, url text, version text, started bigint, renewed bigint, lease_until bigint
)
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
    v_now bigint;
BEGIN
    PERFORM 1 FROM servers AS server ORDER BY server.id FOR UPDATE;
    v_now := rota_now();
    DELETE FROM servers AS server WHERE server.lease_until < v_now - p_forget AND server.id <> p_id;
    IF p_alone THEN
        UPDATE servers AS server SET lease_until = v_now WHERE server.id <> p_id AND server.lease_until > v_now;
    END IF;
    RETURN QUERY
        INSERT INTO servers AS server (id, name, url, version, started, renewed, lease_until)
        VALUES (p_id, p_name, p_url, p_version, v_now, v_now, coalesce(p_until, v_now + p_lease))
        ON CONFLICT (id) DO UPDATE SET
            name = excluded.name, url = excluded.url, version = excluded.version, renewed = excluded.renewed,
            lease_until = excluded.lease_until
        RETURNING
            server.id, server.name, server.url, server.version, server.started, server.renewed, server.lease_until;
END
$$;

-- Returns the time of the renewal, NULL without a row.
CREATE FUNCTION rota_renew_1(p_id text, p_lease bigint) RETURNS bigint
LANGUAGE plpgsql
AS $$
DECLARE
    v_now bigint;
BEGIN
    PERFORM 1 FROM servers WHERE id = p_id FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    v_now := rota_now();
    UPDATE servers SET renewed = v_now, lease_until = v_now + p_lease WHERE id = p_id;
    RETURN v_now;
END
$$;

CREATE FUNCTION rota_leave_1(p_id text) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    UPDATE servers SET lease_until = least(lease_until, rota_now()) WHERE id = p_id;
    PERFORM 1 FROM shards WHERE server = p_id ORDER BY shard FOR UPDATE;
    UPDATE shards SET server = '' WHERE server = p_id;
END
$$;

CREATE FUNCTION rota_release_1(p_id text, p_shards integer[]) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM 1 FROM unnest(p_shards) AS given (shard)
    JOIN shards AS led ON led.shard BETWEEN given.shard AND given.shard
    ORDER BY given.shard FOR UPDATE OF led;
    UPDATE shards AS led SET server = '' FROM unnest(p_shards) AS given (shard)
    WHERE led.shard BETWEEN given.shard AND given.shard AND led.server = p_id;
END
$$;

-- Returns the shards taken with their new epochs. While the rows of their leaders are locked no lease is renewed.
CREATE FUNCTION rota_take_1(p_id text, p_shards integer[], p_epochs bigint[])
RETURNS TABLE (taken integer, raised bigint)
LANGUAGE plpgsql
AS $$
DECLARE
    v_now bigint;
BEGIN
    PERFORM 1 FROM servers AS server
    WHERE server.id = p_id
        OR server.id IN (SELECT led.server FROM shards AS led WHERE led.shard = ANY (p_shards))
    ORDER BY server.id FOR SHARE OF server;
    PERFORM 1 FROM unnest(p_shards) AS wanted (shard)
    JOIN shards AS led ON led.shard BETWEEN wanted.shard AND wanted.shard
    ORDER BY wanted.shard FOR UPDATE OF led;
    v_now := rota_now();
    IF NOT EXISTS (SELECT 1 FROM servers AS me WHERE me.id = p_id AND me.lease_until > v_now) THEN
        RETURN;
    END IF;
    -- A leader that came between the two locks would have raised the epoch.
    RETURN QUERY
        UPDATE shards AS led SET server = p_id, epoch = led.epoch + 1
        FROM unnest(p_shards, p_epochs) AS wanted (shard, epoch)
        WHERE led.shard BETWEEN wanted.shard AND wanted.shard AND led.epoch = wanted.epoch
            AND NOT EXISTS (SELECT 1 FROM servers AS leader WHERE leader.id = led.server AND leader.lease_until > v_now)
        RETURNING led.shard::integer, led.epoch;
END
$$;

-- ── workers ─────────────────────────────────────────────────────────────────────────────────────────────

-- The new session's number; or the server of a twin that is connected, or that the hello was overtaken by a later one,
-- and then nothing is written.
CREATE FUNCTION rota_connect_1(p_worker worker_row_1, OUT number integer, OUT twin text, OUT overtaken boolean)
LANGUAGE plpgsql
AS $$
DECLARE
    v_kept record;
BEGIN
    LOOP
        SELECT boot_id, server, disconnected, dial FROM workers WHERE name = p_worker.name FOR UPDATE INTO v_kept;
        EXIT WHEN FOUND;
        INSERT INTO workers (
            name, boot_id, session, server, version, labels, capacity, cpus, memory, connected, last_seen,
            disconnected, draining, clock_offset, settled, boot_session, dial
        ) VALUES (
            p_worker.name, p_worker.boot_id, 1, p_worker.server, p_worker.version, p_worker.labels,
            p_worker.capacity, p_worker.cpus, p_worker.memory, p_worker.connected, p_worker.last_seen,
            p_worker.disconnected, p_worker.draining, p_worker.clock_offset, p_worker.settled, 1,
            p_worker.dial
        )
        ON CONFLICT (name) DO NOTHING;
        IF FOUND THEN
            number := 1;
            RETURN;
        END IF;
    END LOOP;
    IF v_kept.boot_id <> p_worker.boot_id AND v_kept.disconnected IS NULL AND EXISTS (
        SELECT 1 FROM servers AS server WHERE server.id = v_kept.server AND server.lease_until > rota_now()
    ) THEN
        twin := v_kept.server;
        RETURN;
    END IF;
    overtaken := v_kept.boot_id = p_worker.boot_id AND v_kept.dial > p_worker.dial;
    IF overtaken THEN
        RETURN;
    END IF;
    UPDATE workers SET
        boot_session = CASE WHEN boot_id = p_worker.boot_id THEN boot_session ELSE session + 1 END,
        boot_id = p_worker.boot_id, session = session + 1, server = p_worker.server, version = p_worker.version,
        labels = p_worker.labels, capacity = p_worker.capacity, cpus = p_worker.cpus, memory = p_worker.memory,
        connected = p_worker.connected, last_seen = p_worker.last_seen, disconnected = p_worker.disconnected,
        draining = p_worker.draining, clock_offset = p_worker.clock_offset, settled = p_worker.settled,
        dial = p_worker.dial
    WHERE name = p_worker.name
    RETURNING session INTO number;
END
$$;

-- ── access ──────────────────────────────────────────────────────────────────────────────────────────────

-- What is written may have been read a moment ago: a revocation or a use that came in between stays.
CREATE FUNCTION rota_put_token_1(p_token token_row_1, p_audit audit_row_1[]) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO tokens (id, digest, name, scopes, created, expires, last_used, revoked, worker, uses, labels)
    VALUES (
        p_token.id, p_token.digest, p_token.name, p_token.scopes, p_token.created, p_token.expires, p_token.last_used,
        p_token.revoked, p_token.worker, p_token.uses, p_token.labels
    )
    ON CONFLICT (id) DO UPDATE SET
        digest = excluded.digest, name = excluded.name, scopes = excluded.scopes, created = excluded.created,
        expires = excluded.expires, last_used = greatest(tokens.last_used, excluded.last_used),
        revoked = coalesce(tokens.revoked, excluded.revoked), worker = excluded.worker,
        uses = least(tokens.uses, excluded.uses), labels = excluded.labels;
    PERFORM rota_add_audit_1(p_audit);
END
$$;

CREATE FUNCTION rota_use_token_1(p_digest bytea, p_made token_row_1, p_now bigint, p_audit audit_row_1[])
RETURNS boolean
LANGUAGE plpgsql
AS $$
BEGIN
    UPDATE tokens SET uses = uses - 1, last_used = p_now
    WHERE digest = p_digest AND uses > 0 AND revoked IS NULL AND (expires IS NULL OR expires > p_now);
    IF NOT FOUND THEN
        RETURN FALSE;
    END IF;
    UPDATE tokens SET revoked = p_now WHERE worker = p_made.worker AND revoked IS NULL;
    PERFORM rota_put_token_1(p_made, p_audit);
    RETURN TRUE;
END
$$;

CREATE FUNCTION rota_put_login_1(
    p_digest bytea, p_kind text, p_token_id text, p_created bigint, p_expires bigint, p_csrf text
) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    DELETE FROM logins USING (
        SELECT digest FROM logins WHERE expires <= p_created ORDER BY expires FOR UPDATE SKIP LOCKED
    ) AS old
    WHERE logins.digest BETWEEN old.digest AND old.digest;
    INSERT INTO logins (digest, kind, token_id, created, expires, csrf)
    VALUES (p_digest, p_kind, p_token_id, p_created, p_expires, p_csrf)
    ON CONFLICT (digest) DO UPDATE SET
        kind = excluded.kind, token_id = excluded.token_id, created = excluded.created, expires = excluded.expires,
        csrf = excluded.csrf;
END
$$;

-- The first answer stays: whoever asks again must hear the same.
CREATE FUNCTION rota_remember_1(
    p_key text, p_actor text, p_request_digest bytea, p_status integer, p_body bytea, p_created bigint,
    p_keep_after bigint
) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    DELETE FROM answers USING (
        SELECT "key", actor FROM answers WHERE created < p_keep_after ORDER BY created FOR UPDATE SKIP LOCKED
    ) AS old
    WHERE answers."key" BETWEEN old."key" AND old."key" AND answers.actor = old.actor;
    INSERT INTO answers ("key", actor, request_digest, status, body, created)
    VALUES (p_key, p_actor, p_request_digest, p_status, p_body, p_created)
    ON CONFLICT ("key", actor) DO NOTHING;
END
$$;

-- ── output ──────────────────────────────────────────────────────────────────────────────────────────────

-- A chunk that is there already, alone or merged with others, is left as it is. Whether it is part of a merged row is
-- looked at after it was inserted: a merge that ended meanwhile is seen then, and one that comes later sees the chunk.
CREATE FUNCTION rota_append_output_1(p_chunks output_row_1[]) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO output (
        run_id, attempt, sequence, last_sequence, first_line, lines, "offset", bytes, compressed, data
    )
    SELECT run_id, attempt, sequence, last_sequence, first_line, lines, "offset", bytes, compressed, data
    FROM unnest(p_chunks)
    ON CONFLICT (run_id, attempt, sequence) DO NOTHING;
    DELETE FROM output AS kept USING unnest(p_chunks) AS c
    WHERE c.sequence > 0
        AND kept.run_id BETWEEN c.run_id AND c.run_id AND kept.attempt = c.attempt AND kept.sequence = c.sequence
        AND EXISTS (
            SELECT 1 FROM output AS merged
            WHERE merged.run_id = c.run_id AND merged.attempt = c.attempt AND merged.sequence < c.sequence
                AND merged.last_sequence > merged.sequence AND merged.last_sequence >= c.sequence
        );
END
$$;

-- Puts one row in the place of `p_rows` rows, if they are all still there.
CREATE FUNCTION rota_merge_output_1(p_merged output_row_1, p_rows integer) RETURNS boolean
LANGUAGE plpgsql
AS $$
DECLARE
    v_found integer;
BEGIN
    PERFORM 1 FROM output
    WHERE run_id = p_merged.run_id AND attempt = p_merged.attempt
        AND sequence BETWEEN p_merged.sequence AND p_merged.last_sequence
    ORDER BY sequence FOR UPDATE;
    GET DIAGNOSTICS v_found = ROW_COUNT;
    IF v_found <> p_rows THEN
        RETURN FALSE;
    END IF;
    DELETE FROM output
    WHERE run_id = p_merged.run_id AND attempt = p_merged.attempt
        AND sequence BETWEEN p_merged.sequence AND p_merged.last_sequence;
    INSERT INTO output (
        run_id, attempt, sequence, last_sequence, first_line, lines, "offset", bytes, compressed, data
    ) VALUES (
        p_merged.run_id, p_merged.attempt, p_merged.sequence, p_merged.last_sequence, p_merged.first_line,
        p_merged.lines, p_merged."offset", p_merged.bytes, p_merged.compressed, p_merged.data
    );
    RETURN TRUE;
END
$$;

-- ── retention by rows ───────────────────────────────────────────────────────────────────────────────────

-- Deletes runs that finished before `p_before`, with their output and keys, and gaps of that time; returns how many
-- runs. Rows that somebody else is deleting are passed over.
CREATE FUNCTION rota_prune_runs_1(p_before bigint, p_limit integer, p_job uuid) RETURNS integer
LANGUAGE plpgsql
AS $$
DECLARE
    v_ids uuid[];
    v_bound uuid := rota_first_id_1(moment(p_before)::date + 1);  -- of a later day, nothing has finished by then
BEGIN
    IF p_job IS NULL THEN
        v_ids := ARRAY(
            SELECT id FROM runs_history WHERE id < v_bound AND finished < p_before
            ORDER BY id LIMIT p_limit FOR UPDATE SKIP LOCKED
        );
        DELETE FROM gaps USING (
            SELECT job_id, until, "after" FROM gaps WHERE until < p_before
            ORDER BY until LIMIT p_limit FOR UPDATE SKIP LOCKED
        ) AS old
        WHERE gaps.job_id BETWEEN old.job_id AND old.job_id AND gaps.until = old.until AND gaps."after" = old."after";
    ELSE
        v_ids := ARRAY(
            SELECT id FROM runs_history WHERE job_id = p_job AND finished < p_before
            ORDER BY due LIMIT p_limit FOR UPDATE SKIP LOCKED
        );
        DELETE FROM gaps USING (
            SELECT job_id, until, "after" FROM gaps WHERE job_id = p_job AND until < p_before
            ORDER BY until LIMIT p_limit FOR UPDATE SKIP LOCKED
        ) AS old
        WHERE gaps.job_id BETWEEN old.job_id AND old.job_id AND gaps.until = old.until AND gaps."after" = old."after";
    END IF;
    DELETE FROM output USING unnest(v_ids) AS gone (id) WHERE output.run_id BETWEEN gone.id AND gone.id;
    DELETE FROM run_keys USING unnest(v_ids) AS gone (id) WHERE run_keys.run_id BETWEEN gone.id AND gone.id;
    DELETE FROM runs_history USING unnest(v_ids) AS gone (id) WHERE runs_history.id BETWEEN gone.id AND gone.id;
    RETURN cardinality(v_ids);
END
$$;

-- Deletes output of runs with ids below `p_bound`; returns how many rows.
CREATE FUNCTION rota_prune_output_1(p_bound uuid, p_limit integer, p_job uuid) RETURNS integer
LANGUAGE plpgsql
AS $$
DECLARE
    v_deleted integer;
BEGIN
    IF p_job IS NULL THEN
        DELETE FROM output USING (
            SELECT run_id, attempt, sequence FROM output WHERE run_id < p_bound
            ORDER BY run_id LIMIT p_limit FOR UPDATE SKIP LOCKED
        ) AS old
        WHERE output.run_id BETWEEN old.run_id AND old.run_id AND output.attempt = old.attempt
            AND output.sequence = old.sequence;
    ELSE
        DELETE FROM output USING (
            SELECT kept.run_id, kept.attempt, kept.sequence
            FROM runs_history AS past JOIN output AS kept ON kept.run_id BETWEEN past.id AND past.id
            WHERE past.job_id = p_job AND past.id < p_bound
            LIMIT p_limit FOR UPDATE OF kept SKIP LOCKED
        ) AS old
        WHERE output.run_id BETWEEN old.run_id AND old.run_id AND output.attempt = old.attempt
            AND output.sequence = old.sequence;
    END IF;
    GET DIAGNOSTICS v_deleted = ROW_COUNT;
    RETURN v_deleted;
END
$$;

-- ── partitions: one for each day of run ids ─────────────────────────────────────────────────────────────

-- The lowest id a run of this day can have.
CREATE FUNCTION rota_first_id_1(p_day date) RETURNS uuid
LANGUAGE sql IMMUTABLE
AS $$SELECT (lpad(to_hex((extract(epoch FROM p_day) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid$$;

-- The days that have a partition of `p_table`.
CREATE FUNCTION rota_partitions_1(p_table text) RETURNS TABLE (day date)
LANGUAGE sql STABLE
AS $$
    SELECT to_date(right(part.relname, 8), 'YYYYMMDD')
    FROM pg_inherits AS tie JOIN pg_class AS part ON part.oid = tie.inhrelid
    WHERE tie.inhparent = p_table::regclass AND part.relname ~ '_[0-9]{8}$'
$$;

-- Makes the partition of a day, unless rows of that day are in the default one; returns whether it was made.
-- It is attached to, not created in, the table: that locks reads and writes out of the default partition only. Who
-- waits for a lock makes others wait behind him, so the wait is short; the day after tomorrow is early enough.
CREATE FUNCTION rota_add_partition_1(p_table text, p_column text, p_day date) RETURNS boolean
LANGUAGE plpgsql
AS $$
DECLARE
    v_name text := p_table || to_char(p_day, '_YYYYMMDD');
    v_low uuid := rota_first_id_1(p_day);
    v_high uuid := rota_first_id_1(p_day + 1);
    v_taken boolean;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('rota partitions', 0)) OR to_regclass(v_name) IS NOT NULL THEN
        RETURN FALSE;
    END IF;
    EXECUTE format('SELECT EXISTS (SELECT 1 FROM %I WHERE %I >= $1 AND %2$I < $2)', p_table || '_default', p_column)
        USING v_low, v_high INTO v_taken;
    IF v_taken THEN
        RETURN FALSE;
    END IF;
    PERFORM set_config('lock_timeout', '300', TRUE);
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', v_name, p_table);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', p_table, v_name, v_low, v_high);
    RETURN TRUE;
END
$$;

-- Drops a day's history with its output and keys, when all of it finished before `p_before` and nothing of the day is
-- unfinished; returns how many runs, NULL where it stays.
CREATE FUNCTION rota_drop_history_1(p_day date, p_before bigint) RETURNS bigint
LANGUAGE plpgsql
AS $$
DECLARE
    v_runs text := 'runs_history' || to_char(p_day, '_YYYYMMDD');
    v_output text := 'output' || to_char(p_day, '_YYYYMMDD');
    v_low uuid := rota_first_id_1(p_day);
    v_high uuid := rota_first_id_1(p_day + 1);
    v_count bigint;
    v_young boolean;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('rota partitions', 0)) OR to_regclass(v_runs) IS NULL THEN
        RETURN NULL;
    END IF;
    EXECUTE format('SELECT count(*) FROM %I', v_runs) INTO v_count;
    PERFORM set_config('lock_timeout', '300', TRUE);
    LOCK TABLE ONLY runs_history IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', v_runs);
    EXECUTE format('SELECT EXISTS (SELECT 1 FROM %I WHERE finished >= $1 OR finished IS NULL)', v_runs)
        USING p_before INTO v_young;
    IF v_young OR EXISTS (SELECT 1 FROM runs_hot WHERE id >= v_low AND id < v_high) THEN
        RETURN NULL;
    END IF;
    DELETE FROM run_keys WHERE run_id >= v_low AND run_id < v_high;
    EXECUTE format('DROP TABLE %I', v_runs);
    IF to_regclass(v_output) IS NOT NULL THEN
        LOCK TABLE ONLY output IN ACCESS EXCLUSIVE MODE;
        EXECUTE format('DROP TABLE %I', v_output);
    ELSE
        DELETE FROM output WHERE run_id >= v_low AND run_id < v_high;
    END IF;
    RETURN v_count;
END
$$;

-- Drops a day's output; returns how many rows, NULL where there is no partition.
CREATE FUNCTION rota_drop_output_1(p_day date) RETURNS bigint
LANGUAGE plpgsql
AS $$
DECLARE
    v_output text := 'output' || to_char(p_day, '_YYYYMMDD');
    v_count bigint;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('rota partitions', 0)) OR to_regclass(v_output) IS NULL THEN
        RETURN NULL;
    END IF;
    EXECUTE format('SELECT count(*) FROM %I', v_output) INTO v_count;
    PERFORM set_config('lock_timeout', '300', TRUE);
    LOCK TABLE ONLY output IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('DROP TABLE %I', v_output);
    RETURN v_count;
END
$$;

-- Everything, page by page in order of its key. The last parameter is the limit.

-- name: is_empty
SELECT NOT EXISTS (SELECT 1 FROM jobs) AND NOT EXISTS (SELECT 1 FROM runs_history) AND NOT EXISTS (SELECT 1 FROM output)
    AND NOT EXISTS (SELECT 1 FROM notices) AND NOT EXISTS (SELECT 1 FROM workers) AND NOT EXISTS (SELECT 1 FROM tokens)
    AND NOT EXISTS (SELECT 1 FROM secrets) AND NOT EXISTS (SELECT 1 FROM audit);

-- name: facts
SELECT key, value FROM facts WHERE key > $1 ORDER BY key LIMIT $2;

-- name: jobs
SELECT job.* FROM (SELECT id FROM jobs WHERE id > $1 ORDER BY id LIMIT $2) AS page CROSS JOIN LATERAL (
    SELECT * FROM jobs_1 WHERE jobs_1.id = page.id OFFSET 0
) AS job
ORDER BY page.id;

-- name: revisions
SELECT job_id, revision, spec, changed, actor, source FROM revisions
WHERE (job_id, revision) > ($1::uuid, $2::integer) ORDER BY job_id, revision LIMIT $3;

-- name: counters
SELECT * FROM job_stats_1 WHERE job_id > $1 ORDER BY job_id LIMIT $2;

-- name: gaps
SELECT job_id, until, "after", count, reason, created FROM gaps
WHERE (job_id, until, "after") > ($1::uuid, $2::bigint, $3::bigint) ORDER BY job_id, until, "after" LIMIT $4;

-- name: hot
SELECT * FROM runs_hot_1 WHERE id > $1 ORDER BY id LIMIT $2;

-- name: past
SELECT * FROM runs_history_1 WHERE id > $1 ORDER BY id LIMIT $2;

-- name: output
SELECT run_id, attempt, sequence, last_sequence, first_line, lines, "offset", bytes, compressed, data FROM output
WHERE (run_id, attempt, sequence) > ($1::uuid, $2::integer, $3::integer) ORDER BY run_id, attempt, sequence LIMIT $4;

-- name: notices
SELECT id, event, route, created, thread, job, run_id, facts, state, tries, next_try, sent, error FROM notices
WHERE id > $1 ORDER BY id LIMIT $2;

-- name: conditions
SELECT key, detail, since, hint FROM conditions WHERE key > $1 ORDER BY key LIMIT $2;

-- name: tokens
SELECT id, digest, name, scopes, created, expires, last_used, revoked, worker, uses, labels FROM tokens
WHERE id > $1 ORDER BY id LIMIT $2;

-- name: logins
SELECT digest, kind, token_id, created, expires, csrf FROM logins WHERE digest > $1 ORDER BY digest LIMIT $2;

-- name: secrets
SELECT name, key_id, nonce, ciphertext, updated FROM secrets WHERE name > $1 ORDER BY name LIMIT $2;

-- name: answers
SELECT "key", actor, request_digest, status, body, created FROM answers
WHERE ("key", actor) > ($1::text, $2::text) ORDER BY "key", actor LIMIT $3;

-- name: audit
SELECT number, at, actor, verb, object, detail, request_id FROM audit WHERE number > $1 ORDER BY number LIMIT $2;

-- name: workers
SELECT
    name, boot_id, session, server, version, labels, capacity, cpus, memory, connected, last_seen, disconnected,
    draining, clock_offset, settled, boot_session, dial
FROM workers WHERE name > $1 ORDER BY name LIMIT $2;

-- name: put_facts
INSERT INTO facts (key, value) SELECT key, value FROM unnest($1::text[], $2::text[]) AS given (key, value)
ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: fences
SELECT incarnation, next_counter FROM fences;

-- name: raise_fences
UPDATE fences SET incarnation = $1, next_counter = $2 WHERE (incarnation, next_counter) < ($1::bigint, $2::bigint);

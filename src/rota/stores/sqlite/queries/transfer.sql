-- Everything, page by page in order of its key. The last parameter is the limit.

-- name: is_empty
SELECT NOT EXISTS (SELECT 1 FROM jobs) AND NOT EXISTS (SELECT 1 FROM runs_history) AND NOT EXISTS (SELECT 1 FROM output)
    AND NOT EXISTS (SELECT 1 FROM notices) AND NOT EXISTS (SELECT 1 FROM workers) AND NOT EXISTS (SELECT 1 FROM tokens)
    AND NOT EXISTS (SELECT 1 FROM secrets) AND NOT EXISTS (SELECT 1 FROM audit);

-- name: facts
-- The highest time given is this store's own, not a fact about the installation.
SELECT key, value FROM facts WHERE key > ?1 AND key <> 'highest_time' ORDER BY key LIMIT ?2;

-- name: jobs
SELECT * FROM jobs WHERE id > ?1 ORDER BY id LIMIT ?2;

-- name: revisions
SELECT job_id, revision, spec, changed, actor, source FROM revisions
WHERE (job_id, revision) > (?1, ?2) ORDER BY job_id, revision LIMIT ?3;

-- name: counters
SELECT * FROM job_stats WHERE job_id > ?1 ORDER BY job_id LIMIT ?2;

-- name: gaps
SELECT job_id, until, "after", count, reason, created FROM gaps
WHERE (job_id, until, "after") > (?1, ?2, ?3) ORDER BY job_id, until, "after" LIMIT ?4;

-- name: hot
SELECT * FROM runs_hot WHERE id > ?1 ORDER BY id LIMIT ?2;

-- name: past
SELECT * FROM runs_history WHERE id > ?1 ORDER BY id LIMIT ?2;

-- name: output
SELECT * FROM output WHERE (run_id, attempt, sequence) > (?1, ?2, ?3) ORDER BY run_id, attempt, sequence LIMIT ?4;

-- name: notices
SELECT * FROM notices WHERE id > ?1 ORDER BY id LIMIT ?2;

-- name: conditions
SELECT key, detail, since, hint FROM conditions WHERE key > ?1 ORDER BY key LIMIT ?2;

-- name: tokens
SELECT * FROM tokens WHERE id > ?1 ORDER BY id LIMIT ?2;

-- name: logins
SELECT * FROM logins WHERE digest > ?1 ORDER BY digest LIMIT ?2;

-- name: secrets
SELECT * FROM secrets WHERE name > ?1 ORDER BY name LIMIT ?2;

-- name: answers
SELECT * FROM answers WHERE ("key", actor) > (?1, ?2) ORDER BY "key", actor LIMIT ?3;

-- name: audit
SELECT number, at, actor, verb, object, detail, request_id FROM audit WHERE number > ?1 ORDER BY number LIMIT ?2;

-- name: workers
SELECT * FROM workers WHERE name > ?1 ORDER BY name LIMIT ?2;

-- name: put_facts
INSERT INTO facts (key, value) VALUES (?,?) ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: put_jobs
INSERT INTO jobs VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?);

-- name: put_revisions
INSERT INTO revisions (job_id, revision, spec, changed, actor, source) VALUES (?,?,?,?,?,?);

-- name: put_counters
INSERT INTO job_stats VALUES (?,?,?,?,?,?,?,?,?,?,?,?);

-- name: put_gaps
INSERT INTO gaps (job_id, until, "after", count, reason, created) VALUES (?,?,?,?,?,?);

-- name: put_output
INSERT INTO output VALUES (?,?,?,?,?,?,?,?,?,?);

-- name: put_notices
INSERT INTO notices VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?);

-- name: put_conditions
INSERT INTO conditions VALUES (?,?,?,?);

-- name: put_tokens
INSERT INTO tokens (id, digest, name, scopes, created, expires, last_used, revoked, worker, uses, labels)
VALUES (?,?,?,?,?,?,?,?,?,?,?);

-- name: put_logins
INSERT INTO logins (digest, kind, token_id, created, expires, csrf) VALUES (?,?,?,?,?,?);

-- name: put_secrets
INSERT INTO secrets (name, key_id, nonce, ciphertext, updated) VALUES (?,?,?,?,?);

-- name: put_answers
INSERT INTO answers ("key", actor, request_digest, status, body, created) VALUES (?,?,?,?,?,?);

-- name: put_audit
INSERT INTO audit (at, actor, verb, object, detail, request_id) VALUES (?,?,?,?,?,?);

-- name: put_workers
INSERT INTO workers VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?);

-- name: fences
SELECT incarnation, next_counter FROM fences;

-- name: raise_fences
UPDATE fences SET incarnation = ?1, next_counter = ?2 WHERE (incarnation, next_counter) < (?1, ?2);

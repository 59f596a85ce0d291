-- Writes that several verbs share. Each runs inside the transaction of its verb.

-- name: stored_runs
-- Which of these runs exist, hot or in history.
SELECT hot.id FROM json_each(?1) AS wanted CROSS JOIN runs_hot AS hot ON hot.id = wanted.value
UNION ALL
SELECT past.id FROM json_each(?1) AS wanted CROSS JOIN runs_history AS past ON past.id = wanted.value;

-- name: runs_by_key
-- Which runs these (job, key) pairs have, hot or in history.
SELECT hot.job_id, hot."key", hot.id FROM json_each(?1) AS wanted CROSS JOIN runs_hot AS hot
    ON hot.job_id = json_extract(wanted.value, '$[0]') AND hot."key" = json_extract(wanted.value, '$[1]')
WHERE hot."key" <> ''
UNION ALL
SELECT past.job_id, past."key", past.id FROM json_each(?1) AS wanted CROSS JOIN runs_history AS past
    ON past.job_id = json_extract(wanted.value, '$[0]') AND past."key" = json_extract(wanted.value, '$[1]')
WHERE past."key" <> '';

-- name: insert_hot
INSERT INTO runs_hot VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?);

-- name: insert_history
INSERT INTO runs_history VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?);

-- name: hot_versions
SELECT hot.id, hot.version, hot.job_id FROM json_each(?1) AS wanted CROSS JOIN runs_hot AS hot ON hot.id = wanted.value;

-- name: waiting_versions
SELECT hot.id, hot.version, hot.job FROM json_each(?1) AS wanted CROSS JOIN runs_hot AS hot ON hot.id = wanted.value
WHERE hot.state IN ('queued', 'starting');

-- name: update_hot
UPDATE runs_hot SET
    revision = ?, kind = ?, params = ?, state = ?, ready_at = ?, late_at = ?, reason = ?, attempts = ?, "current" = ?,
    failures = ?, losses = ?, released = ?, cancel = ?, session = ?, started = ?, finished = ?, result = ?,
    worker = ?, exit = ?, error = ?, version = ?, withdrawn = ?
WHERE id = ?;

-- name: delete_hot
DELETE FROM runs_hot WHERE id IN (SELECT value FROM json_each(?1));

-- name: stats_versions
SELECT kept.job_id, kept.version FROM json_each(?1) AS wanted CROSS JOIN job_stats AS kept ON kept.job_id = wanted.value;

-- name: put_stats
INSERT INTO job_stats VALUES (?,?,?,?,?,?,?,?,?,?,?,?)
ON CONFLICT (job_id) DO UPDATE SET
    recent = excluded.recent, fails_in_row = excluded.fails_in_row, streak = excluded.streak,
    alerted_at = excluded.alerted_at, last_run = excluded.last_run, last_state = excluded.last_state,
    last_due = excluded.last_due, last_finished = excluded.last_finished, last_success = excluded.last_success,
    late_since = excluded.late_since, version = excluded.version;

-- name: add_gap
INSERT OR IGNORE INTO gaps (job_id, until, "after", count, reason, created) VALUES (?,?,?,?,?,?);

-- name: add_notice
INSERT INTO notices (
    id, event, route, created, thread, job, run_id, facts, state, tries, next_try, sent, error
) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)
ON CONFLICT (id) DO NOTHING;

-- name: add_audit
INSERT INTO audit (at, actor, verb, object, detail, request_id) VALUES (?,?,?,?,?,?);

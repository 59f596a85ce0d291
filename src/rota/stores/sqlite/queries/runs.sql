-- name: hot
SELECT hot.* FROM json_each(?1) AS wanted CROSS JOIN runs_hot AS hot ON hot.id = wanted.value;

-- name: history
SELECT past.* FROM json_each(?1) AS wanted CROSS JOIN runs_history AS past ON past.id = wanted.value;

-- name: waiting_of_kind
-- In the order of the index: twenty thousand runs of one moment cost no more than the limit.
SELECT ready_at, id FROM runs_hot
WHERE state = 'queued' AND kind = ?1 AND ready_at > ?2 AND ready_at <= ?3
ORDER BY ready_at, id
LIMIT ?4;

-- name: queued_kinds
-- The kinds there are, each found by one step in the index.
WITH RECURSIVE kinds (kind) AS (
    SELECT min(kind) FROM runs_hot WHERE state = 'queued'
    UNION ALL
    SELECT (SELECT min(hot.kind) FROM runs_hot AS hot WHERE hot.state = 'queued' AND hot.kind > kinds.kind)
    FROM kinds WHERE kinds.kind IS NOT NULL
)
SELECT kind FROM kinds WHERE kind IS NOT NULL;

-- name: next_ready
SELECT ready_at FROM runs_hot WHERE state = 'queued' AND kind = ?1 AND ready_at > ?2 ORDER BY ready_at LIMIT 1;

-- name: holders
SELECT hot.* FROM json_each(?1) AS wanted CROSS JOIN runs_hot AS hot ON hot.job_id = wanted.value
WHERE hot.released IS NOT NULL
ORDER BY hot.due, hot.id;

-- name: released
SELECT hot.job_id, hot.id FROM json_each(?1) AS wanted CROSS JOIN runs_hot AS hot ON hot.job_id = wanted.value
WHERE hot.released IS NOT NULL;

-- name: sessions
SELECT worker.name, worker.session FROM json_each(?1) AS wanted CROSS JOIN workers AS worker
    ON worker.name = wanted.value
WHERE worker.disconnected IS NULL;

-- name: newest_sessions
SELECT worker.name, worker.session FROM json_each(?1) AS wanted CROSS JOIN workers AS worker
    ON worker.name = wanted.value;

-- name: leases_of
SELECT server.id, server.lease_until FROM json_each(?1) AS wanted CROSS JOIN servers AS server
    ON server.id = wanted.value;

-- name: unfinished
SELECT hot.* FROM json_each(?1) AS wanted CROSS JOIN runs_hot AS hot ON hot.job_id = wanted.value
ORDER BY hot.due, hot.id;

-- name: lines
SELECT hot.job_id, hot.id, hot.due, hot.released IS NOT NULL, hot.version
FROM json_each(?1) AS wanted CROSS JOIN runs_hot AS hot ON hot.job_id = wanted.value
ORDER BY hot.due, hot.id;

-- name: stats
SELECT kept.* FROM json_each(?1) AS wanted CROSS JOIN job_stats AS kept ON kept.job_id = wanted.value;

-- name: late
SELECT * FROM runs_hot WHERE late_at IS NOT NULL AND late_at <= ?1 ORDER BY late_at LIMIT ?2;

-- name: next_late
SELECT min(late_at) FROM runs_hot WHERE late_at IS NOT NULL;

-- name: finished_before
SELECT id FROM runs_history WHERE finished < ?1 ORDER BY finished LIMIT ?2;

-- name: finished_of_job
SELECT id FROM runs_history WHERE job_id = ?3 AND finished < ?1 ORDER BY due LIMIT ?2;

-- name: delete_history
DELETE FROM runs_history WHERE id IN (SELECT value FROM json_each(?1));

-- name: delete_output
DELETE FROM output WHERE run_id IN (SELECT value FROM json_each(?1));

-- name: delete_gaps
DELETE FROM gaps WHERE (job_id, until, "after") IN (
    SELECT job_id, until, "after" FROM gaps WHERE until < ?1 ORDER BY until LIMIT ?2
);

-- name: delete_gaps_of_job
DELETE FROM gaps WHERE (job_id, until, "after") IN (
    SELECT job_id, until, "after" FROM gaps WHERE job_id = ?3 AND until < ?1 ORDER BY until LIMIT ?2
);

-- name: by_worker
SELECT * FROM runs_hot WHERE worker = ?1 AND state <> 'queued' ORDER BY due, id;

-- name: all
SELECT * FROM runs_hot WHERE state <> 'queued' ORDER BY due, id;

-- name: starting
SELECT * FROM runs_hot WHERE state = 'starting' AND ready_at < ?1 ORDER BY ready_at, id LIMIT ?2;

-- name: running
SELECT * FROM runs_hot
 WHERE worker IN (SELECT value FROM json_each(?1)) AND state <> 'queued' AND state = 'running'
 ORDER BY due, id;

-- name: asked
SELECT * FROM runs_hot WHERE (cancel IS NOT NULL OR withdrawn IS NOT NULL) AND state <> 'queued' ORDER BY due, id;

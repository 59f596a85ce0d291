-- Each statement gives a line for every problem it finds, a few at most.

-- name: shards
SELECT 'shard ' || number || ' has no row' FROM generate_series(0, 63) AS number
WHERE NOT EXISTS (SELECT 1 FROM shards WHERE shard = number) LIMIT 20;

-- name: fences
SELECT 'the counter of fences has no row' WHERE NOT EXISTS (SELECT 1 FROM fences);

-- name: indexes
SELECT 'index ' || index.indexrelid::regclass || ' is not valid: REINDEX it' FROM pg_index AS index
JOIN pg_class AS class ON class.oid = index.indrelid
WHERE class.relnamespace = 'rota'::regnamespace AND NOT index.indisvalid LIMIT 20;

-- name: cursors
SELECT 'job ' || job.full_name || ' has no cursor' FROM jobs AS job
WHERE NOT EXISTS (SELECT 1 FROM job_cursors AS at WHERE at.job_id = job.id) LIMIT 20;

-- name: jobs
SELECT 'a row of ' || orphan.name || ' is of job ' || orphan.job_id || ', which does not exist'
FROM (
    SELECT 'job_cursors' AS name, job_id FROM job_cursors
    UNION ALL SELECT 'job_stats', job_id FROM job_stats
    UNION ALL SELECT 'revisions', job_id FROM revisions
    UNION ALL SELECT 'gaps', job_id FROM gaps
    UNION ALL SELECT 'runs_hot', job_id FROM runs_hot
    UNION ALL SELECT 'run_keys', job_id FROM run_keys
) AS orphan
WHERE NOT EXISTS (SELECT 1 FROM jobs AS job WHERE job.id = orphan.job_id) LIMIT 20;

-- name: slices
SELECT 'job ' || job_id || ' is in shard ' || shard || ', its run ' || run || ' in another'
FROM (
    SELECT at.job_id, at.shard, hot.id AS run
    FROM runs_hot AS hot JOIN job_cursors AS at ON at.job_id = hot.job_id
    WHERE at.shard <> hot.shard
) AS apart LIMIT 20;

-- name: twice
SELECT 'run ' || hot.id || ' is unfinished and past at once' FROM runs_hot AS hot
JOIN runs_history AS past ON past.id = hot.id LIMIT 20;

-- name: keys
SELECT 'key ' || quote_literal(kept."key") || ' is of run ' || kept.run_id || ', which does not exist'
FROM run_keys AS kept
WHERE NOT EXISTS (SELECT 1 FROM runs_hot AS hot WHERE hot.id = kept.run_id)
    AND NOT EXISTS (SELECT 1 FROM runs_history AS past WHERE past.id = kept.run_id) LIMIT 20;

-- name: create
SELECT given, stored FROM rota_create_1($1, $2, $3, $4, $5, $6);

-- name: assign
SELECT rota_assign_1($1, $2, $3, $4, $5, $6, $7);

-- name: record
SELECT fenced, moved_runs, moved_jobs FROM rota_record_1($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: by_id
-- Hot ones and past ones on one snapshot: a run that moves meanwhile is in one of them. The bounds spare the partitions
-- of other days.
SELECT hot.* FROM unnest($1::uuid[]) AS wanted (id) CROSS JOIN LATERAL (
    SELECT * FROM runs_hot_1 AS one WHERE one.id = wanted.id OFFSET 0
) AS hot
UNION ALL
SELECT past.* FROM unnest($1::uuid[]) AS wanted (id) CROSS JOIN LATERAL (
    SELECT * FROM runs_history_1 AS one WHERE one.id = wanted.id AND one.id BETWEEN $2 AND $3 OFFSET 0
) AS past;

-- name: waiting
-- The first of each kind and shard, in order of their index; of each kind those that no row left out can come before,
-- at most as many as there is room for; of these the first, with their jobs (each with its first run).
-- The kinds and shards that have anything queued are found by one step in the index for each.
WITH RECURSIVE queue (kind, shard) AS (
    (SELECT hot.kind, hot.shard FROM runs_hot AS hot WHERE hot.state = 'queued' ORDER BY hot.kind, hot.shard LIMIT 1)
    UNION ALL
    SELECT next.kind, next.shard FROM queue CROSS JOIN LATERAL (
        SELECT hot.kind, hot.shard FROM runs_hot AS hot
        WHERE hot.state = 'queued' AND (hot.kind, hot.shard) > (queue.kind, queue.shard)
        ORDER BY hot.kind, hot.shard LIMIT 1
    ) AS next
), asked AS MATERIALIZED (
    SELECT queue.kind, queue.shard, coalesce(room.most, $6) AS most,
        least(
            $7 * coalesce(room.most, $6) / count(*) OVER (PARTITION BY queue.kind) + 8, coalesce(room.most, $6) + 1
        ) AS share
    FROM queue LEFT JOIN unnest($3::text[], $4::bigint[]) AS room (kind, most) ON room.kind = queue.kind
    WHERE ($3::text[] IS NULL OR room.most > 0) AND ($5::smallint[] IS NULL OR queue.shard = ANY ($5))
), piece AS MATERIALIZED (
    SELECT asked.kind, asked.most, asked.share, part.ready_at, part.id, part.place
    FROM asked CROSS JOIN LATERAL (
        SELECT hot.ready_at, hot.id, row_number() OVER (ORDER BY hot.ready_at, hot.id) AS place
        FROM runs_hot AS hot
        WHERE hot.state = 'queued' AND hot.kind = asked.kind AND hot.shard = asked.shard
            AND hot.ready_at > $1 AND hot.ready_at <= $2
        ORDER BY hot.ready_at, hot.id LIMIT asked.share
    ) AS part
), cut AS MATERIALIZED (
    SELECT DISTINCT ON (kind) kind, ready_at, id FROM piece WHERE place = share ORDER BY kind, ready_at, id
), sure AS MATERIALIZED (
    SELECT piece.kind, piece.most, piece.ready_at, piece.id,
        row_number() OVER (PARTITION BY piece.kind ORDER BY piece.ready_at, piece.id) AS place
    FROM piece LEFT JOIN cut ON cut.kind = piece.kind
    WHERE cut.kind IS NULL OR (piece.ready_at, piece.id) <= (cut.ready_at, cut.id)
), chosen AS MATERIALIZED (
    SELECT ready_at, id FROM sure WHERE place <= most ORDER BY ready_at, id LIMIT $6
), runs AS MATERIALIZED (
    SELECT hot.*, row_number() OVER (PARTITION BY hot.job_id ORDER BY hot.ready_at, hot.id) AS of_job
    FROM chosen CROSS JOIN LATERAL (SELECT * FROM runs_hot_1 AS one WHERE one.id = chosen.id OFFSET 0) AS hot
)
SELECT runs.*, EXISTS (
        SELECT 1 FROM cut WHERE (SELECT count(*) FROM sure WHERE sure.kind = cut.kind) < (
            SELECT least(max(asked.most), $6) FROM asked WHERE asked.kind = cut.kind
        )
    ) AS short, job.*
FROM runs LEFT JOIN LATERAL (
    SELECT * FROM jobs_1 WHERE jobs_1.id = runs.job_id AND runs.of_job = 1 OFFSET 0
) AS job ON TRUE
ORDER BY runs.ready_at, runs.id;

-- name: next_ready
WITH RECURSIVE queue (kind, shard) AS (
    (SELECT hot.kind, hot.shard FROM runs_hot AS hot WHERE hot.state = 'queued' ORDER BY hot.kind, hot.shard LIMIT 1)
    UNION ALL
    SELECT next.kind, next.shard FROM queue CROSS JOIN LATERAL (
        SELECT hot.kind, hot.shard FROM runs_hot AS hot
        WHERE hot.state = 'queued' AND (hot.kind, hot.shard) > (queue.kind, queue.shard)
        ORDER BY hot.kind, hot.shard LIMIT 1
    ) AS next
)
SELECT min(first.ready_at)
FROM queue CROSS JOIN LATERAL (
    SELECT hot.ready_at FROM runs_hot AS hot
    WHERE hot.state = 'queued' AND hot.kind = queue.kind AND hot.shard = queue.shard AND hot.ready_at > $1
    ORDER BY hot.ready_at LIMIT 1
) AS first
WHERE $2::smallint[] IS NULL OR queue.shard = ANY ($2);

-- name: holders
SELECT held.* FROM unnest($1::uuid[]) AS wanted (job_id) CROSS JOIN LATERAL (
    SELECT * FROM runs_hot_1 AS hot WHERE hot.job_id = wanted.job_id AND hot.released IS NOT NULL OFFSET 0
) AS held
ORDER BY held.due, held.id;

-- name: reported
-- The hot rows among these runs, each job and its counters with its first run.
WITH runs AS MATERIALIZED (
    SELECT hot.*, row_number() OVER (PARTITION BY hot.job_id ORDER BY hot.id) AS of_job
    FROM unnest($1::uuid[]) AS wanted (id) CROSS JOIN LATERAL (
        SELECT * FROM runs_hot_1 AS one WHERE one.id = wanted.id OFFSET 0
    ) AS hot
)
SELECT runs.*, job.*, kept.*
FROM runs
LEFT JOIN LATERAL (SELECT * FROM jobs_1 WHERE jobs_1.id = runs.job_id AND runs.of_job = 1 OFFSET 0) AS job ON TRUE
LEFT JOIN LATERAL (
    SELECT * FROM job_stats_1 WHERE job_stats_1.job_id = runs.job_id AND runs.of_job = 1 OFFSET 0
) AS kept ON TRUE;

-- name: unfinished
SELECT held.* FROM unnest($1::uuid[]) AS wanted (job_id) CROSS JOIN LATERAL (
    SELECT * FROM runs_hot_1 AS hot WHERE hot.job_id = wanted.job_id OFFSET 0
) AS held
ORDER BY held.due, held.id;

-- name: lines
SELECT held.job_id, held.id, held.due, held.is_released, held.version
FROM unnest($1::uuid[]) AS wanted (job_id) CROSS JOIN LATERAL (
    SELECT hot.job_id, hot.id, hot.due, hot.released IS NOT NULL AS is_released, hot.version
    FROM runs_hot AS hot WHERE hot.job_id = wanted.job_id OFFSET 0
) AS held
ORDER BY held.due, held.id;

-- name: stats
SELECT kept.* FROM unnest($1::uuid[]) AS wanted (job_id) CROSS JOIN LATERAL (
    SELECT * FROM job_stats_1 AS one WHERE one.job_id = wanted.job_id OFFSET 0
) AS kept;

-- name: late
SELECT * FROM runs_hot_1 WHERE late_at IS NOT NULL AND late_at <= $1 ORDER BY late_at LIMIT $2;

-- name: next_late
SELECT min(late_at) FROM runs_hot WHERE late_at IS NOT NULL;

-- name: prune
SELECT rota_prune_runs_1($1, $2, $3);

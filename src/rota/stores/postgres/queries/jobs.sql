-- name: apply
SELECT rota_apply_1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13);

-- name: commit_plan
SELECT rota_commit_plan_1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: due
-- The first of each shard, in order of its index, and of these those that no row left out can come before: `cut` is the
-- first place where a shard was cut off. Twenty thousand jobs of one moment cost no more than the limit.
WITH piece AS MATERIALIZED (
    SELECT part.job_id, part.next_at, part.place
    FROM unnest($1::smallint[]) AS led (shard) CROSS JOIN LATERAL (
        SELECT at.job_id, at.next_at, row_number() OVER (ORDER BY at.next_at, at.job_id) AS place
        FROM job_cursors AS at
        WHERE at.shard = led.shard AND at.next_at > $2 AND at.next_at <= $3
            AND at.next_at IS NOT NULL AND at.deleted IS NULL AND at.broken IS NULL
        ORDER BY at.next_at, at.job_id LIMIT $5
    ) AS part
), cut AS MATERIALIZED (
    SELECT next_at, job_id FROM piece WHERE place = $5 ORDER BY next_at, job_id LIMIT 1
), chosen AS MATERIALIZED (
    SELECT piece.next_at, piece.job_id FROM piece
    WHERE NOT EXISTS (SELECT 1 FROM cut WHERE (piece.next_at, piece.job_id) > (cut.next_at, cut.job_id))
    ORDER BY piece.next_at, piece.job_id LIMIT $4
)
SELECT job.*, EXISTS (SELECT 1 FROM cut) AND (SELECT count(*) FROM chosen) < $4 AS short
FROM chosen CROSS JOIN LATERAL (SELECT * FROM jobs_1 WHERE jobs_1.id = chosen.job_id OFFSET 0) AS job
ORDER BY chosen.next_at, chosen.job_id;

-- name: next_due
SELECT min(first.next_at)
FROM unnest($1::smallint[]) AS led (shard) CROSS JOIN LATERAL (
    SELECT at.next_at FROM job_cursors AS at
    WHERE at.shard = led.shard AND at.next_at IS NOT NULL AND at.deleted IS NULL AND at.broken IS NULL
    ORDER BY at.next_at LIMIT 1
) AS first;

-- name: by_name
SELECT job.* FROM unnest($1::text[]) AS wanted (full_name) CROSS JOIN LATERAL (
    SELECT * FROM jobs_1 WHERE jobs_1.full_name = wanted.full_name OFFSET 0
) AS job
WHERE job.deleted IS NULL;

-- name: by_name_with_deleted
SELECT job.* FROM unnest($1::text[]) AS wanted (full_name) CROSS JOIN LATERAL (
    SELECT * FROM jobs_1 WHERE jobs_1.full_name = wanted.full_name OFFSET 0
) AS job;

-- name: by_id
SELECT job.* FROM unnest($1::uuid[]) AS wanted (id) CROSS JOIN LATERAL (
    SELECT * FROM jobs_1 WHERE jobs_1.id = wanted.id OFFSET 0
) AS job;

-- name: by_source
SELECT job.* FROM (SELECT id FROM jobs WHERE source = $1 OFFSET 0) AS found CROSS JOIN LATERAL (
    SELECT * FROM jobs_1 WHERE jobs_1.id = found.id OFFSET 0
) AS job
WHERE job.deleted IS NULL
ORDER BY job.full_name;

-- name: all
SELECT * FROM jobs_1 WHERE deleted IS NULL ORDER BY full_name;

-- name: in_shard
SELECT job.*
FROM (
    SELECT job_id FROM job_cursors WHERE shard = $1 AND job_id > $2 AND deleted IS NULL ORDER BY job_id LIMIT $3
) AS at CROSS JOIN LATERAL (SELECT * FROM jobs_1 WHERE jobs_1.id = at.job_id OFFSET 0) AS job
ORDER BY at.job_id;

-- name: specs
SELECT kept.job_id, kept.revision, kept.spec
FROM unnest($1::uuid[], $2::integer[]) AS wanted (job_id, revision)
CROSS JOIN LATERAL (
    SELECT job_id, revision, spec FROM revisions AS one
    WHERE one.job_id = wanted.job_id AND one.revision = wanted.revision OFFSET 0
) AS kept;

-- name: revisions
SELECT job_id, revision, spec, changed, actor, source FROM revisions
WHERE job_id = $1 ORDER BY revision DESC LIMIT $2;

-- name: keeping
SELECT job.* FROM (SELECT id FROM jobs WHERE keeps OFFSET 0) AS found CROSS JOIN LATERAL (
    SELECT * FROM jobs_1 WHERE jobs_1.id = found.id OFFSET 0
) AS job
ORDER BY job.full_name;

-- name: at_start
SELECT job.* FROM (SELECT id FROM jobs WHERE at_start OFFSET 0) AS found CROSS JOIN LATERAL (
    SELECT * FROM jobs_1 WHERE jobs_1.id = found.id OFFSET 0
) AS job
WHERE job.deleted IS NULL AND job.pause IS NULL
ORDER BY job.full_name;

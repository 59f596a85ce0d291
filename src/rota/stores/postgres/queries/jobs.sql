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
FROM chosen JOIN jobs_1 AS job ON job.id = chosen.job_id
ORDER BY chosen.next_at, chosen.job_id;

-- name: next_due
SELECT min(first.next_at)
FROM unnest($1::smallint[]) AS led (shard) CROSS JOIN LATERAL (
    SELECT at.next_at FROM job_cursors AS at
    WHERE at.shard = led.shard AND at.next_at IS NOT NULL AND at.deleted IS NULL AND at.broken IS NULL
    ORDER BY at.next_at LIMIT 1
) AS first;

-- name: by_name
SELECT job.* FROM unnest($1::text[]) AS wanted (full_name) JOIN jobs_1 AS job ON job.full_name = wanted.full_name
WHERE job.deleted IS NULL;

-- name: by_name_with_deleted
SELECT job.* FROM unnest($1::text[]) AS wanted (full_name) JOIN jobs_1 AS job ON job.full_name = wanted.full_name;

-- name: by_id
SELECT job.* FROM unnest($1::uuid[]) AS wanted (id) JOIN jobs_1 AS job ON job.id = wanted.id;

-- name: by_source
SELECT * FROM jobs_1 WHERE source = $1 AND deleted IS NULL ORDER BY full_name;

-- name: all
SELECT * FROM jobs_1 WHERE deleted IS NULL ORDER BY full_name;

-- name: in_shard
SELECT job.*
FROM (
    SELECT job_id FROM job_cursors WHERE shard = $1 AND job_id > $2 AND deleted IS NULL ORDER BY job_id LIMIT $3
) AS at JOIN jobs_1 AS job ON job.id = at.job_id
ORDER BY at.job_id;

-- name: specs
SELECT kept.job_id, kept.revision, kept.spec
FROM unnest($1::uuid[], $2::integer[]) AS wanted (job_id, revision)
JOIN revisions AS kept ON kept.job_id = wanted.job_id AND kept.revision = wanted.revision;

-- name: revisions
SELECT job_id, revision, spec, changed, actor, source FROM revisions
WHERE job_id = $1 ORDER BY revision DESC LIMIT $2;

-- name: keeping
SELECT * FROM jobs_1 WHERE keeps ORDER BY full_name;

-- name: at_start
SELECT * FROM jobs_1 WHERE at_start AND deleted IS NULL AND pause IS NULL ORDER BY full_name;

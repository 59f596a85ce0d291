-- name: versions
SELECT job.id, job.version, job.deleted
FROM json_each(?1) AS wanted CROSS JOIN jobs AS job ON job.id = wanted.value;

-- name: put
INSERT INTO jobs VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)
ON CONFLICT (id) DO UPDATE SET
    revision = excluded.revision, version = excluded.version, shard = excluded.shard, source = excluded.source,
    spec = excluded.spec, cursor = excluded.cursor, next_at = excluded.next_at, created = excluded.created,
    updated = excluded.updated, pause = excluded.pause, broken = excluded.broken, deleted = excluded.deleted,
    title = excluded.title, owner = excluded.owner, schedule = excluded.schedule, labels = excluded.labels,
    shadow = excluded.shadow, at_start = excluded.at_start, keeps = excluded.keeps;

-- name: add_revision
INSERT OR IGNORE INTO revisions (job_id, revision, spec, changed, actor, source) VALUES (?,?,?,?,?,?);

-- name: move
UPDATE jobs SET cursor = ?, next_at = ?, pause = ?, broken = ?, version = ? WHERE id = ?;

-- name: epochs
SELECT shard, epoch FROM shards;

-- name: due_between
-- One shard: the index gives the order, so the cost follows the limit.
SELECT * FROM jobs
WHERE shard = ?1 AND next_at > ?2 AND next_at <= ?3 AND next_at IS NOT NULL AND deleted IS NULL AND broken IS NULL
ORDER BY next_at
LIMIT ?4;

-- name: next_due
SELECT min(next_at) FROM jobs
WHERE shard = ?1 AND next_at IS NOT NULL AND deleted IS NULL AND broken IS NULL;

-- name: by_name
SELECT job.* FROM json_each(?1) AS wanted CROSS JOIN jobs AS job ON job.full_name = wanted.value
WHERE job.deleted IS NULL;

-- name: by_name_with_deleted
SELECT job.* FROM json_each(?1) AS wanted CROSS JOIN jobs AS job ON job.full_name = wanted.value;

-- name: by_id
SELECT job.* FROM json_each(?1) AS wanted CROSS JOIN jobs AS job ON job.id = wanted.value;

-- name: by_source
SELECT * FROM jobs WHERE source = ?1 AND deleted IS NULL ORDER BY full_name;

-- name: all
SELECT * FROM jobs WHERE deleted IS NULL ORDER BY full_name;

-- name: in_shard
SELECT * FROM jobs WHERE shard = ?1 AND id > ?2 AND deleted IS NULL ORDER BY id LIMIT ?3;

-- name: specs
SELECT kept.job_id, kept.revision, kept.spec
FROM json_each(?1) AS wanted
CROSS JOIN revisions AS kept
    ON kept.job_id = json_extract(wanted.value, '$[0]') AND kept.revision = json_extract(wanted.value, '$[1]');

-- name: revisions
SELECT job_id, revision, spec, changed, actor, source FROM revisions
WHERE job_id = ?1 ORDER BY revision DESC LIMIT ?2;

-- name: keeping
SELECT * FROM jobs WHERE keeps = 1 ORDER BY full_name;

-- name: at_start
SELECT * FROM jobs WHERE at_start = 1 AND deleted IS NULL AND pause IS NULL ORDER BY full_name;

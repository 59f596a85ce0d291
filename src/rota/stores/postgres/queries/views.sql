-- Read models. `/* conditions */` is where rota.stores.filters puts its fixed fragments; what users typed is always a
-- bound parameter, here a question mark until it gets its number. Runs are read from both tables, each by its own
-- index, and merged by the caller.

-- name: jobs_by_name
SELECT job.*, kept.* FROM jobs_1 AS job LEFT JOIN job_stats_1 AS kept ON kept.job_id = job.id
WHERE job.deleted IS NULL /* conditions */
ORDER BY job.full_name LIMIT ?;

-- name: jobs_by_next
SELECT job.*, kept.* FROM jobs_1 AS job LEFT JOIN job_stats_1 AS kept ON kept.job_id = job.id
WHERE job.deleted IS NULL /* conditions */
ORDER BY coalesce(job.next_at, 9223372036854775807), job.id LIMIT ?;

-- name: jobs_by_last
-- Those that have ended at least once, in the order of the counters' index.
SELECT job.*, kept.* FROM job_stats_1 AS kept JOIN jobs_1 AS job ON job.id = kept.job_id
WHERE kept.last_finished IS NOT NULL AND job.deleted IS NULL /* conditions */
ORDER BY kept.last_finished DESC, kept.job_id LIMIT ?;

-- name: jobs_never_ended
SELECT job.*, kept.* FROM jobs_1 AS job LEFT JOIN job_stats_1 AS kept ON kept.job_id = job.id
WHERE job.deleted IS NULL AND kept.last_finished IS NULL /* conditions */
ORDER BY job.id LIMIT ?;

-- name: count_jobs
SELECT count(*) FROM (
    SELECT 1 FROM jobs_1 AS job LEFT JOIN job_stats_1 AS kept ON kept.job_id = job.id
    WHERE job.deleted IS NULL /* conditions */
    LIMIT ?
) AS counted;

-- name: hot_newest_first
SELECT run.* FROM runs_hot_1 AS run WHERE TRUE /* conditions */ ORDER BY run.due DESC, run.id DESC LIMIT ?;

-- name: hot_oldest_first
SELECT run.* FROM runs_hot_1 AS run WHERE TRUE /* conditions */ ORDER BY run.due, run.id LIMIT ?;

-- name: past_newest_first
SELECT run.* FROM runs_history_1 AS run WHERE TRUE /* conditions */ ORDER BY run.due DESC, run.id DESC LIMIT ?;

-- name: past_oldest_first
SELECT run.* FROM runs_history_1 AS run WHERE TRUE /* conditions */ ORDER BY run.due, run.id LIMIT ?;

-- name: count_hot
SELECT count(*) FROM (SELECT 1 FROM runs_hot_1 AS run WHERE TRUE /* conditions */ LIMIT ?) AS counted;

-- name: count_past
SELECT count(*) FROM (SELECT 1 FROM runs_history_1 AS run WHERE TRUE /* conditions */ LIMIT ?) AS counted;

-- name: gaps
SELECT job_id, until, "after", count, reason, created FROM gaps
WHERE job_id = $1 AND until >= $2 AND "after" < $3 AND (until, "after") > ($4::bigint, $5::bigint)
ORDER BY until, "after" LIMIT $6;

-- name: gap_at
SELECT job_id, until, "after", count, reason, created FROM gaps
WHERE job_id = $1 AND until >= $2 AND "after" < $2
ORDER BY until LIMIT 1;

-- name: summary
SELECT
    (SELECT count(*) FROM jobs WHERE deleted IS NULL),
    (SELECT count(*) FROM job_cursors WHERE pause IS NOT NULL AND deleted IS NULL),
    (
        SELECT count(*) FROM job_stats AS kept JOIN jobs AS job ON job.id = kept.job_id
        WHERE kept.fails_in_row > 0 AND job.deleted IS NULL
    ),
    (
        SELECT count(*) FROM job_stats AS kept JOIN jobs AS job ON job.id = kept.job_id
        WHERE kept.late_since IS NOT NULL AND job.deleted IS NULL
    ),
    (SELECT count(*) FROM runs_hot WHERE state = 'queued'),
    (SELECT count(*) FROM runs_hot WHERE state = 'starting'),
    (SELECT count(*) FROM runs_hot WHERE state <> 'queued' AND state = 'running'),
    (
        SELECT min(ready_at) FROM runs_hot WHERE state = 'queued'
    ),
    (SELECT count(*) FROM notices WHERE state = 'pending');

-- name: namespaces
SELECT namespace, count(*) FROM jobs WHERE deleted IS NULL GROUP BY namespace ORDER BY namespace;

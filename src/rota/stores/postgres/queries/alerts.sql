-- name: add
SELECT rota_add_notices_1($1);

-- name: pending
SELECT id, event, route, created, thread, job, run_id, facts, state, tries, next_try, sent, error FROM notices
WHERE state = 'pending' AND (next_try IS NULL OR next_try <= $1)
ORDER BY created, id LIMIT $2;

-- name: next_try
SELECT min(coalesce(next_try, created)) FROM notices WHERE state = 'pending';

-- name: settle
UPDATE notices AS notice SET
    state = new.state, tries = new.tries, next_try = new.next_try, sent = new.sent, error = new.error
FROM unnest($1::text[], $2::text[], $3::integer[], $4::bigint[], $5::bigint[], $6::text[])
    AS new (id, state, tries, next_try, sent, error)
WHERE notice.id BETWEEN new.id AND new.id;

-- name: recent
SELECT id, event, route, created, thread, job, run_id, facts, state, tries, next_try, sent, error FROM notices
ORDER BY created DESC, id DESC LIMIT $1;

-- name: raise_condition
-- A row that was there has been updated, and so has a transaction in xmax.
INSERT INTO conditions AS kept (key, detail, since, hint) VALUES ($1, $2, $3, $4)
ON CONFLICT (key) DO UPDATE SET detail = excluded.detail, hint = excluded.hint
RETURNING kept.xmax = 0;

-- name: clear_condition
DELETE FROM conditions WHERE key = $1 RETURNING key;

-- name: conditions
SELECT key, detail, since, hint FROM conditions ORDER BY since, key;

-- name: prune
WITH gone AS (
    DELETE FROM notices USING (
        SELECT id FROM notices WHERE created < $1 AND state <> 'pending'
        ORDER BY created LIMIT $2 FOR UPDATE SKIP LOCKED
    ) AS old
    WHERE notices.id BETWEEN old.id AND old.id
    RETURNING notices.id
)
SELECT count(*) FROM gone;

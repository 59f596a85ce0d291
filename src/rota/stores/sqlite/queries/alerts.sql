-- name: pending
SELECT * FROM notices WHERE state = 'pending' AND (next_try IS NULL OR next_try <= ?1)
ORDER BY created, id LIMIT ?2;

-- name: next_try
SELECT min(coalesce(next_try, created)) FROM notices WHERE state = 'pending';

-- name: settle
UPDATE notices SET state = ?2, tries = ?3, next_try = ?4, sent = ?5, error = ?6 WHERE id = ?1;

-- name: recent
SELECT * FROM notices ORDER BY created DESC, id DESC LIMIT ?1;

-- name: raise_condition
INSERT INTO conditions (key, detail, since, hint) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (key) DO NOTHING;

-- name: renew_condition
UPDATE conditions SET detail = ?2, hint = ?3 WHERE key = ?1;

-- name: clear_condition
DELETE FROM conditions WHERE key = ?1;

-- name: conditions
SELECT key, detail, since, hint FROM conditions ORDER BY since, key;

-- name: prune
DELETE FROM notices WHERE id IN (
    SELECT id FROM notices WHERE created < ?1 AND state <> 'pending' ORDER BY created LIMIT ?2
);

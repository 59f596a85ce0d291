-- name: fact
SELECT value FROM facts WHERE key = ?1;

-- name: remember
INSERT INTO facts (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: remember_time
-- Times only grow, whatever the order in which they arrive.
INSERT INTO facts (key, value) VALUES ('highest_time', ?1)
ON CONFLICT (key) DO UPDATE SET value = excluded.value
WHERE CAST(excluded.value AS INTEGER) > CAST(value AS INTEGER);

-- name: take_shards
UPDATE shards SET server = ?1, epoch = epoch + 1 RETURNING shard, epoch;

-- name: take_fences
UPDATE fences SET next_counter = next_counter + ?1 RETURNING incarnation, next_counter - ?1;

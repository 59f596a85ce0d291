-- name: fact
SELECT value FROM facts WHERE key = ?1;

-- name: remember
INSERT INTO facts (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: remember_time
-- Times only grow, whatever the order in which they arrive.
INSERT INTO facts (key, value) VALUES ('highest_time', ?1)
ON CONFLICT (key) DO UPDATE SET value = excluded.value
WHERE CAST(excluded.value AS INTEGER) > CAST(value AS INTEGER);

-- name: join
INSERT INTO servers (id, name, url, version, started, renewed, lease_until) VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6)
ON CONFLICT (id) DO UPDATE SET
    name = excluded.name, url = excluded.url, version = excluded.version, renewed = excluded.renewed,
    lease_until = excluded.lease_until
RETURNING *;

-- name: end_others
UPDATE servers SET lease_until = ?2 WHERE id <> ?1 AND lease_until > ?2;

-- name: forget_servers
DELETE FROM servers WHERE lease_until < ?1;

-- name: renewed
SELECT renewed FROM servers WHERE id = ?1;

-- name: renew
UPDATE servers SET renewed = ?2, lease_until = ?3 WHERE id = ?1;

-- name: end
UPDATE servers SET lease_until = min(lease_until, ?2) WHERE id = ?1;

-- name: servers
SELECT * FROM servers ORDER BY id;

-- name: shards
SELECT shard, server, epoch FROM shards ORDER BY shard;

-- name: workers
SELECT server, count(*) FROM workers WHERE settled IS NULL AND (disconnected IS NULL OR disconnected > ?1)
GROUP BY server;

-- name: leave
UPDATE shards SET server = '' WHERE server = ?1;

-- name: release
UPDATE shards SET server = '' WHERE server = ?1 AND shard IN (SELECT value FROM json_each(?2));

-- name: take
UPDATE shards SET server = ?1, epoch = epoch + 1
WHERE shard = ?2 AND epoch = ?3
    AND NOT EXISTS (SELECT 1 FROM servers WHERE servers.id = shards.server AND servers.lease_until > ?4)
    AND EXISTS (SELECT 1 FROM servers WHERE servers.id = ?1 AND servers.lease_until > ?4)
RETURNING shard, epoch;

-- name: take_fences
UPDATE fences SET next_counter = next_counter + ?1 RETURNING incarnation, next_counter - ?1;

-- name: fences
SELECT incarnation, next_counter FROM fences;

-- name: raise_incarnation
UPDATE fences SET incarnation = incarnation + 1, next_counter = 1 RETURNING incarnation;

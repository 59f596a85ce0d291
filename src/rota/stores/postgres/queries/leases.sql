-- name: now
SELECT rota_now();

-- name: join
SELECT id, name, url, version, started, renewed, lease_until FROM rota_join_1($1, $2, $3, $4, $5, $6, $7, $8);

-- name: renew
SELECT (SELECT renewed FROM servers WHERE id = $1), rota_renew_1($1, $2);

-- name: leave
SELECT rota_leave_1($1);

-- name: standing
-- Servers, shards, the number of workers and the time on one snapshot, as arrays of rows.
SELECT
    rota_now(),
    ARRAY(
        SELECT ROW (server.id, server.name, server.url, server.version, server.started, server.renewed,
            server.lease_until)
        FROM servers AS server ORDER BY server.id
    ),
    ARRAY(SELECT ROW (led.shard, led.server, led.epoch) FROM shards AS led ORDER BY led.shard),
    ARRAY(
        SELECT ROW (worker.server, count(*))
        FROM workers AS worker
        WHERE worker.settled IS NULL AND (worker.disconnected IS NULL OR worker.disconnected > rota_now() - $1)
        GROUP BY worker.server
    );

-- name: take
SELECT taken, raised FROM rota_take_1($1, $2, $3);

-- name: release
SELECT rota_release_1($1, $2);

-- name: take_fences
UPDATE fences SET next_counter = next_counter + $1 RETURNING incarnation, next_counter - $1;

-- name: fences
SELECT incarnation, next_counter FROM fences;

-- name: raise_incarnation
UPDATE fences SET incarnation = incarnation + 1, next_counter = 1 RETURNING incarnation;

-- name: fact
SELECT value FROM facts WHERE key = $1;

-- name: remember
INSERT INTO facts (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: connect
SELECT number, twin, overtaken FROM rota_connect_1($1);

-- name: disconnect
UPDATE workers SET disconnected = $3, last_seen = greatest(last_seen, $3)
WHERE name = $1 AND session = $2 AND disconnected IS NULL
RETURNING name;

-- name: settle
UPDATE workers SET settled = $3, disconnected = coalesce(disconnected, $3)
WHERE name = $1 AND session = $2 AND settled IS NULL
RETURNING name;

-- name: orphans
SELECT
    worker.name, worker.boot_id, worker.session, worker.server, worker.version, worker.labels, worker.capacity,
    worker.cpus, worker.memory, worker.connected, worker.last_seen, worker.disconnected, worker.draining,
    worker.clock_offset, worker.settled, worker.boot_session, worker.dial
FROM workers AS worker LEFT JOIN servers AS server ON server.id = worker.server
WHERE worker.settled IS NULL AND (server.id IS NULL OR server.lease_until <= rota_now() - $1)
ORDER BY worker.name LIMIT $2;

-- name: unsettled
SELECT name, session FROM workers WHERE settled IS NULL AND server = $1;

-- name: seen
UPDATE workers AS worker SET
    last_seen = greatest(worker.last_seen, sign.at), draining = sign.draining, clock_offset = sign.clock_offset
FROM unnest($1::text[], $2::bigint[], $3::boolean[], $4::double precision[]) AS sign (name, at, draining, clock_offset)
WHERE worker.name BETWEEN sign.name AND sign.name;

-- name: forget
WITH gone AS (
    SELECT name FROM workers WHERE settled < $1 ORDER BY settled, name LIMIT $2 FOR UPDATE SKIP LOCKED
)
DELETE FROM workers AS worker USING gone WHERE worker.name BETWEEN gone.name AND gone.name RETURNING worker.name;

-- name: some
SELECT
    worker.name, worker.boot_id, worker.session, worker.server, worker.version, worker.labels, worker.capacity,
    worker.cpus, worker.memory, worker.connected, worker.last_seen, worker.disconnected, worker.draining,
    worker.clock_offset, worker.settled, worker.boot_session, worker.dial
FROM unnest($1::text[]) AS wanted (name) CROSS JOIN LATERAL (
    SELECT
        name, boot_id, session, server, version, labels, capacity, cpus, memory, connected, last_seen, disconnected,
        draining, clock_offset, settled, boot_session, dial
    FROM workers AS one WHERE one.name = wanted.name OFFSET 0
) AS worker
ORDER BY wanted.name;

-- name: all
SELECT
    name, boot_id, session, server, version, labels, capacity, cpus, memory, connected, last_seen, disconnected,
    draining, clock_offset, settled, boot_session, dial
FROM workers ORDER BY name;

-- name: twin
SELECT boot_id, server FROM workers
WHERE name = ?1 AND boot_id <> ?2 AND disconnected IS NULL
    AND EXISTS (SELECT 1 FROM servers WHERE servers.id = workers.server AND servers.lease_until > ?3);

-- name: overtaken
SELECT 1 FROM workers WHERE name = ?1 AND boot_id = ?2 AND dial > ?3;

-- name: connect
INSERT INTO workers (
    name, boot_id, session, server, version, labels, capacity, cpus, memory, connected, last_seen, disconnected,
    draining, clock_offset, settled, dial
) VALUES (?,?,1,?,?,?,?,?,?,?,?,?,?,?,?,?)
ON CONFLICT (name) DO UPDATE SET
    boot_session = CASE WHEN workers.boot_id = excluded.boot_id THEN workers.boot_session ELSE workers.session + 1 END,
    boot_id = excluded.boot_id, session = workers.session + 1, server = excluded.server, version = excluded.version,
    labels = excluded.labels, capacity = excluded.capacity, cpus = excluded.cpus, memory = excluded.memory,
    connected = excluded.connected, last_seen = excluded.last_seen, disconnected = excluded.disconnected,
    draining = excluded.draining, clock_offset = excluded.clock_offset, settled = excluded.settled,
    dial = excluded.dial
RETURNING session;

-- name: disconnect
UPDATE workers SET disconnected = ?3, last_seen = max(last_seen, ?3)
WHERE name = ?1 AND session = ?2 AND disconnected IS NULL;

-- name: settle
UPDATE workers SET settled = ?3, disconnected = coalesce(disconnected, ?3)
WHERE name = ?1 AND session = ?2 AND settled IS NULL;

-- name: orphans
SELECT worker.* FROM workers AS worker LEFT JOIN servers AS server ON server.id = worker.server
WHERE worker.settled IS NULL AND (server.id IS NULL OR server.lease_until <= ?1)
ORDER BY worker.name LIMIT ?2;

-- name: unsettled
SELECT name, session FROM workers WHERE settled IS NULL AND server = ?1;

-- name: seen
UPDATE workers SET last_seen = max(last_seen, ?2), draining = ?3, clock_offset = ?4 WHERE name = ?1;

-- name: forget
DELETE FROM workers
WHERE name IN (SELECT name FROM workers WHERE settled < ?1 ORDER BY settled, name LIMIT ?2)
RETURNING name;

-- name: some
SELECT * FROM workers WHERE name IN (SELECT value FROM json_each(?1)) ORDER BY name;

-- name: all
SELECT * FROM workers ORDER BY name;

-- name: connect
INSERT INTO workers (
    name, boot_id, session, server, version, labels, capacity, cpus, memory, connected, last_seen, disconnected
) VALUES (?,?,1,?,?,?,?,?,?,?,?,?)
ON CONFLICT (name) DO UPDATE SET
    boot_id = excluded.boot_id, session = workers.session + 1, server = excluded.server, version = excluded.version,
    labels = excluded.labels, capacity = excluded.capacity, cpus = excluded.cpus, memory = excluded.memory,
    connected = excluded.connected, last_seen = excluded.last_seen, disconnected = excluded.disconnected
RETURNING session;

-- name: disconnect
UPDATE workers SET disconnected = ?3, last_seen = max(last_seen, ?3)
WHERE name = ?1 AND session = ?2 AND disconnected IS NULL;

-- name: seen
UPDATE workers SET last_seen = max(last_seen, ?2) WHERE name IN (SELECT value FROM json_each(?1));

-- name: some
SELECT * FROM workers WHERE name IN (SELECT value FROM json_each(?1)) ORDER BY name;

-- name: all
SELECT * FROM workers ORDER BY name;

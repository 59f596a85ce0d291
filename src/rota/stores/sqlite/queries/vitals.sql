-- name: note
INSERT INTO server_vitals (server, at, readings) SELECT id, ?2, ?3 FROM servers WHERE id = ?1
ON CONFLICT (server) DO UPDATE SET at = excluded.at, readings = excluded.readings;

-- name: all
SELECT server, at, readings FROM server_vitals;

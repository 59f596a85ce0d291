-- name: note
INSERT INTO server_vitals (server, at, readings) SELECT me.id, rota_now(), $2 FROM servers AS me WHERE me.id = $1
ON CONFLICT (server) DO UPDATE SET at = excluded.at, readings = excluded.readings
RETURNING true;

-- name: all
SELECT server, at, readings FROM server_vitals;

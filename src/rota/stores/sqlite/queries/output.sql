-- name: append
-- A chunk that is there already, alone or merged with others, is left as it is.
INSERT INTO output (
    run_id, attempt, sequence, last_sequence, first_line, lines, "offset", bytes, compressed, data
)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10
WHERE NOT EXISTS (
    SELECT 1 FROM (
        SELECT last_sequence FROM output WHERE run_id = ?1 AND attempt = ?2 AND sequence <= ?3
        ORDER BY sequence DESC LIMIT 1
    ) AS before WHERE before.last_sequence >= ?3
);

-- name: read
SELECT * FROM output
WHERE run_id = ?1 AND attempt = ?2 AND first_line + lines > ?3
ORDER BY sequence;

-- name: size
SELECT coalesce(sum(lines), 0), coalesce(sum(bytes), 0) FROM output WHERE run_id = ?1 AND attempt = ?2;

-- name: pieces
SELECT kept.run_id, kept.attempt, kept.sequence, kept.last_sequence, kept.bytes
FROM json_each(?1) AS wanted CROSS JOIN output AS kept ON kept.run_id = wanted.value
ORDER BY kept.run_id, kept.attempt, kept.sequence;

-- name: group
SELECT * FROM output
WHERE run_id = ?1 AND attempt = ?2 AND sequence BETWEEN ?3 AND ?4
ORDER BY sequence;

-- name: delete_group
DELETE FROM output WHERE run_id = ?1 AND attempt = ?2 AND sequence BETWEEN ?3 AND ?4;

-- name: put_merged
INSERT INTO output (
    run_id, attempt, sequence, last_sequence, first_line, lines, "offset", bytes, compressed, data
) VALUES (?,?,?,?,?,?,?,?,?,?);

-- name: prune
-- Run ids begin with the milliseconds of their day, so the key's order is the order of time.
DELETE FROM output WHERE rowid IN (SELECT rowid FROM output WHERE run_id < ?1 ORDER BY run_id LIMIT ?2);

-- name: prune_of_job
DELETE FROM output WHERE rowid IN (
    SELECT output.rowid FROM runs_history AS past JOIN output ON output.run_id = past.id
    WHERE past.job_id = ?3 AND past.id < ?1 LIMIT ?2
);

-- name: append
SELECT rota_append_output_1($1);

-- name: read
-- Whole rows in order, as long as those before do not hold enough lines.
SELECT run_id, attempt, sequence, last_sequence, first_line, lines, "offset", bytes, compressed, data
FROM (
    SELECT
        run_id, attempt, sequence, last_sequence, first_line, lines, "offset", bytes, compressed, data,
        coalesce(sum(lines - greatest(0, $3 - first_line)) OVER (
            ORDER BY sequence ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ), 0) AS before
    FROM output
    WHERE run_id = $1 AND attempt = $2 AND first_line + lines > $3
) AS counted
WHERE before < $4
ORDER BY sequence;

-- name: size
SELECT coalesce(sum(lines), 0)::bigint, coalesce(sum(bytes), 0)::bigint FROM output WHERE run_id = $1 AND attempt = $2;

-- name: pieces
SELECT kept.run_id, kept.attempt, kept.sequence, kept.last_sequence, kept.bytes
FROM unnest($1::uuid[]) AS wanted (id) CROSS JOIN LATERAL (
    SELECT run_id, attempt, sequence, last_sequence, bytes FROM output AS one WHERE one.run_id = wanted.id OFFSET 0
) AS kept
ORDER BY wanted.id, kept.attempt, kept.sequence;

-- name: group
SELECT run_id, attempt, sequence, last_sequence, first_line, lines, "offset", bytes, compressed, data FROM output
WHERE run_id = $1 AND attempt = $2 AND sequence BETWEEN $3 AND $4
ORDER BY sequence;

-- name: merge
SELECT rota_merge_output_1($1, $2);

-- name: prune
SELECT rota_prune_output_1($1, $2, $3);

-- name: days
SELECT day FROM rota_partitions_1($1);

-- name: add
SELECT rota_add_partition_1($1, $2, $3);

-- name: drop_history
SELECT rota_drop_history_1($1, $2);

-- name: drop_output
SELECT rota_drop_output_1($1);

-- name: today
SELECT moment(rota_now())::date;

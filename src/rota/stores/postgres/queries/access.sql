-- name: put_token
SELECT rota_put_token_1($1, $2);

-- name: use_token
SELECT rota_use_token_1($1, $2, $3, $4);

-- name: token_by_digest
SELECT id, digest, name, scopes, created, expires, last_used, revoked, worker, uses, labels FROM tokens
WHERE digest = $1;

-- name: tokens_by_id
SELECT id, digest, name, scopes, created, expires, last_used, revoked, worker, uses, labels FROM tokens
WHERE id = ANY ($1::text[]);

-- name: tokens
SELECT id, digest, name, scopes, created, expires, last_used, revoked, worker, uses, labels FROM tokens
ORDER BY created DESC, id;

-- name: put_login
SELECT rota_put_login_1($1, $2, $3, $4, $5, $6);

-- name: session
SELECT digest, kind, token_id, created, expires, csrf FROM logins WHERE digest = $1 AND kind = 'session';

-- name: take_login
DELETE FROM logins WHERE digest = $1 RETURNING digest, kind, token_id, created, expires, csrf;

-- name: put_secrets
WITH put AS (
    INSERT INTO secrets (name, key_id, nonce, ciphertext, updated)
    SELECT name, key_id, nonce, ciphertext, updated
    FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bytea[], $5::bigint[])
        AS given (name, key_id, nonce, ciphertext, updated)
    ON CONFLICT (name) DO UPDATE SET
        key_id = excluded.key_id, nonce = excluded.nonce, ciphertext = excluded.ciphertext, updated = excluded.updated
)
SELECT rota_add_audit_1($6);

-- name: all_secrets
SELECT name, key_id, nonce, ciphertext, updated FROM secrets ORDER BY name;

-- name: some_secrets
SELECT name, key_id, nonce, ciphertext, updated FROM secrets WHERE name = ANY ($1::text[]) ORDER BY name;

-- name: delete_secret
WITH gone AS (
    DELETE FROM secrets WHERE name = $1 RETURNING name
)
SELECT gone.name, rota_add_audit_1($2) FROM gone;

-- name: remembered
SELECT "key", actor, request_digest, status, body, created FROM answers WHERE "key" = $1 AND actor = $2;

-- name: remember
SELECT rota_remember_1($1, $2, $3, $4, $5, $6, $7);

-- name: audit
SELECT rota_add_audit_1($1);

-- name: audit_trail
SELECT at, actor, verb, object, detail, request_id FROM audit ORDER BY number DESC LIMIT $1;

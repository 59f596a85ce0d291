-- name: put_token
-- What is written may have been read a moment ago: a revocation or a use that came in between stays.
INSERT INTO tokens (id, digest, name, scopes, created, expires, last_used, revoked, worker, uses, labels)
VALUES (?,?,?,?,?,?,?,?,?,?,?)
ON CONFLICT (id) DO UPDATE SET
    digest = excluded.digest, name = excluded.name, scopes = excluded.scopes, created = excluded.created,
    expires = excluded.expires, last_used = max(coalesce(last_used, excluded.last_used), coalesce(excluded.last_used, last_used)),
    revoked = coalesce(revoked, excluded.revoked), worker = excluded.worker,
    uses = min(coalesce(uses, excluded.uses), coalesce(excluded.uses, uses)), labels = excluded.labels;

-- name: use_token
UPDATE tokens SET uses = uses - 1, last_used = ?2
WHERE digest = ?1 AND uses > 0 AND revoked IS NULL AND (expires IS NULL OR expires > ?2);

-- name: revoke_tokens_of_worker
UPDATE tokens SET revoked = ?2 WHERE worker = ?1 AND revoked IS NULL;

-- name: token_by_digest
SELECT * FROM tokens WHERE digest = ?1;

-- name: tokens_by_id
SELECT * FROM tokens WHERE id IN (SELECT value FROM json_each(?1));

-- name: tokens
SELECT * FROM tokens ORDER BY created DESC, id;

-- name: put_login
INSERT INTO logins (digest, kind, token_id, created, expires, csrf) VALUES (?,?,?,?,?,?)
ON CONFLICT (digest) DO UPDATE SET
    kind = excluded.kind, token_id = excluded.token_id, created = excluded.created, expires = excluded.expires,
    csrf = excluded.csrf;

-- name: drop_expired_logins
DELETE FROM logins WHERE expires <= ?1;

-- name: session
SELECT * FROM logins WHERE digest = ?1 AND kind = 'session';

-- name: take_login
DELETE FROM logins WHERE digest = ?1 RETURNING *;

-- name: put_secret
INSERT INTO secrets (name, key_id, nonce, ciphertext, updated) VALUES (?,?,?,?,?)
ON CONFLICT (name) DO UPDATE SET
    key_id = excluded.key_id, nonce = excluded.nonce, ciphertext = excluded.ciphertext, updated = excluded.updated;

-- name: all_secrets
SELECT * FROM secrets ORDER BY name;

-- name: some_secrets
SELECT * FROM secrets WHERE name IN (SELECT value FROM json_each(?1)) ORDER BY name;

-- name: delete_secret
DELETE FROM secrets WHERE name = ?1;

-- name: remembered
SELECT * FROM answers WHERE "key" = ?1 AND actor = ?2;

-- name: remember
-- The first answer stays: whoever asks again must hear the same.
INSERT INTO answers ("key", actor, request_digest, status, body, created) VALUES (?,?,?,?,?,?)
ON CONFLICT ("key", actor) DO NOTHING;

-- name: forget
DELETE FROM answers WHERE created < ?1;

-- name: audit_trail
SELECT at, actor, verb, object, detail, request_id FROM audit ORDER BY number DESC LIMIT ?1;

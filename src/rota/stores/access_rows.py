"""Tokens, logins, secrets, remembered answers and audit entries as rows."""

from rota.store.access import LoginRecord, RememberedAnswer, SecretRecord, TokenRecord
from rota.store.jobs import AuditEntry
from rota.stores.rows import (
    Row,
    from_micros,
    optional_instant,
    optional_micros,
    texts_from_json,
    to_json,
    to_micros,
)


def token_row(token: TokenRecord) -> Row:
    """A token as a row."""
    return (
        token.id, token.digest, token.name, ",".join(token.scopes), to_micros(token.created),
        optional_micros(token.expires), optional_micros(token.last_used), optional_micros(token.revoked),
        token.worker, token.uses, None if token.labels is None else to_json(token.labels),
    )  # fmt: skip


def token_from_row(row: Row) -> TokenRecord:
    """The token of a row."""
    id_, digest, name, scopes, created, expires, last_used, revoked, worker, uses, labels = row
    return TokenRecord(
        id=id_,
        digest=digest,
        name=name,
        scopes=tuple(scopes.split(",")) if scopes else (),
        created=from_micros(created),
        expires=optional_instant(expires),
        last_used=optional_instant(last_used),
        revoked=optional_instant(revoked),
        worker=worker,
        uses=uses,
        labels=None if labels is None else texts_from_json(labels),
    )


def login_row(login: LoginRecord) -> Row:
    """A login as a row."""
    return (
        login.digest, login.kind, login.token_id, to_micros(login.created), to_micros(login.expires), login.csrf,
    )  # fmt: skip


def login_from_row(row: Row) -> LoginRecord:
    """The login of a row."""
    digest, kind, token_id, created, expires, csrf = row
    return LoginRecord(
        digest=digest,
        kind=kind,
        token_id=token_id,
        created=from_micros(created),
        expires=from_micros(expires),
        csrf=csrf,
    )


def secret_row(secret: SecretRecord) -> Row:
    """A secret as a row."""
    return (secret.name, secret.key_id, secret.nonce, secret.ciphertext, to_micros(secret.updated))


def secret_from_row(row: Row) -> SecretRecord:
    """The secret of a row."""
    name, key_id, nonce, ciphertext, updated = row
    return SecretRecord(name=name, key_id=key_id, nonce=nonce, ciphertext=ciphertext, updated=from_micros(updated))


def answer_row(answer: RememberedAnswer) -> Row:
    """A remembered answer as a row."""
    return (
        answer.key, answer.actor, answer.request_digest, answer.status, answer.body, to_micros(answer.created),
    )  # fmt: skip


def answer_from_row(row: Row) -> RememberedAnswer:
    """The answer of a row."""
    key, actor, request_digest, status, body, created = row
    return RememberedAnswer(
        key=key, actor=actor, request_digest=request_digest, status=status, body=body, created=from_micros(created)
    )


def audit_row(entry: AuditEntry) -> Row:
    """An audit entry as a row; its number is the store's to give."""
    return (to_micros(entry.at), entry.actor, entry.verb, entry.object, entry.detail, entry.request_id)


def audit_from_row(row: Row) -> AuditEntry:
    """The audit entry of a row."""
    at, actor, verb, object_, detail, request_id = row
    return AuditEntry(at=from_micros(at), actor=actor, verb=verb, object=object_, detail=detail, request_id=request_id)

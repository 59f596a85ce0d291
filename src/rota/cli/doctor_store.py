"""The part of `doctor` that looks straight at a store, also while no server runs."""

import getpass
from collections.abc import Iterable

from rota.cli.findings import Finding, clock_finding
from rota.core.actor import Actor
from rota.core.errors import RotaError
from rota.settings.database import DatabaseUrl
from rota.wiring.inspection import StoreReport, accept_restore, hold_restored, look_at_store, schema_of

_SUBJECT = "database"


def accept(url: DatabaseUrl) -> bool:
    """Let at-most-once work go on; whether it was held."""
    return accept_restore(url, _actor())


def hold(url: DatabaseUrl) -> None:
    """Hold at-most-once work of a restored database."""
    hold_restored(url, _actor())


def _actor() -> Actor:
    """Who is at the keyboard, for the audit trail."""
    return Actor(name=f"{getpass.getuser()} at the database", scopes=frozenset({"admin"}))


def store_findings(url: DatabaseUrl) -> Iterable[Finding]:
    """The database: reached, of a schema that fits, sound, with servers that lead all of it."""
    try:
        schema = schema_of(url)
        if schema.present == 0:
            hint = "rota token create --database URL --scope admin prepares it"
            yield Finding("problem", _SUBJECT, f"{url.shown} is not prepared", hint)
            return
        if schema.needed > schema.known:
            words = f"{url.shown} has schema {schema.present}, this Rota knows {schema.known}"
            yield Finding("problem", _SUBJECT, words, "install the newer Rota here")
            return
        if schema.present < schema.known:
            words = f"{url.shown} has schema {schema.present}; the next server to start makes it {schema.known}"
            yield Finding("warning", _SUBJECT, words, "until then look with the version of Rota that runs")
            return
        report = look_at_store(url)
    except RotaError as error:
        if error.code == "FOLDER_TAKEN":
            yield Finding("warning", _SUBJECT, error.detail, "ask the server that has it: rota doctor --url URL")
        else:
            yield Finding("problem", _SUBJECT, error.detail, error.hint or "")
        return
    yield Finding("ok", _SUBJECT, f"{url.shown}, {report.seconds * 1000:.0f} ms, schema {schema.present}")
    for problem in report.problems:
        yield Finding("problem", _SUBJECT, problem)
    if not report.embedded:
        yield clock_finding(report.clock_offset, "database")
        yield from _servers(report)
    for condition in report.conditions:
        yield Finding("problem", "condition", condition.detail, condition.hint or "")


def _servers(report: StoreReport) -> Iterable[Finding]:
    """Who works on it."""
    if not report.servers:
        yield Finding("problem", "servers", "no server is at work on it", "rota server --database URL")
        return
    names = ", ".join(
        f"{server.name} {server.version} ({report.shards[server.id]} shards)" for server in report.servers
    )
    yield Finding("ok", "servers", names)
    if report.unled:
        yield Finding("problem", "servers", f"{report.unled} shards are led by nobody", "they should be within seconds")

"""Harms to the database that leave it alive, or another one in its place: full, held up, gone back in time."""

import contextlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg
from tests.chaos.api import now
from tests.chaos.life import Life
from tests.chaos.machine_harms import NOTICED_SECONDS, await_ready, filled, small_disk
from tests.chaos.ways import ScriptedWay
from tests.e2e.running_cluster import is_ready, until
from tests.history import probe, processes
from tests.history.records import Rewind, Window
from tests.postgres.cluster import Cluster as Postgres

RESTORED: Final = "store-restored"
LAG_SECONDS: Final = 1.0  # so far a standby may be behind before anything is done to it

# ── it takes no more ─────────────────────────────────────────────────────────────────────────────────────


def full_disk(life: Life, postgres: Postgres) -> None:
    """F17: the disk of the database is full; PostgreSQL refuses, or ends itself. Then there is room again."""
    with contextlib.ExitStack() as stack:
        stack.callback(postgres.restart)
        postgres.stop()
        stack.enter_context(small_disk(postgres.folder / "data"))
        stack.callback(postgres.stop)
        postgres.restart()
        life.machines.until_led_by(life.machines.servers)
        with filled(postgres.folder / "data"):
            await_refusal(life)
        if processes.find(postgres.pid) is None:
            life.notes.append("PostgreSQL had ended itself, and was started again")
            postgres.restart()
        await_recovery(life)
    life.machines.until_led_by(life.machines.servers)


def read_only(life: Life, postgres: Postgres) -> None:
    """F17: the database lets nobody write, for twenty seconds."""
    try:
        postgres.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        postgres.execute("SELECT pg_reload_conf()")
        await_refusal(life)
    finally:
        postgres.execute("SET default_transaction_read_only = off")
        postgres.execute("ALTER SYSTEM RESET default_transaction_read_only")
        postgres.execute("SELECT pg_reload_conf()")
    await_recovery(life)


def await_refusal(life: Life) -> None:
    """Wait until no server says that it is ready, and for a while more; all must live on."""
    servers = life.machines.servers
    alive = [processes.find(server.running.process.pid) for server in servers]
    since = probe.uptime()
    until(
        lambda: not any(is_ready(server.url) for server in servers),
        lambda: f"ready all the same: {[server.name for server in servers if is_ready(server.url)]}",
        NOTICED_SECONDS,
    )
    life.notes.append(f"no server is ready {probe.uptime() - since:.1f} s later")
    life.go_on(15.0)
    assert alive == [processes.find(server.running.process.pid) for server in servers], "a server has ended"


def await_recovery(life: Life) -> None:
    """Wait until all servers are ready and work goes on, and note how long that took."""
    since = probe.uptime()
    for server in life.machines.servers:
        await_ready(life, server, "when the database takes more")
    life.until_started(10)
    life.notes.append(f"ten attempts had started {probe.uptime() - since:.1f} s later")
    life.machines.until_led_by(life.machines.servers)


# ── it is held up ────────────────────────────────────────────────────────────────────────────────────────


def old_transaction(life: Life, postgres: Postgres) -> None:
    """F24: somebody leaves a transaction open that sees an old state, so that no dead row is removed.

    For a minute, or for the whole session where nothing else is done in it.
    """

    async def begin() -> Any:
        connection = await asyncpg.connect(life.database)
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await connection.execute("SELECT txid_current(), count(*) FROM runs_hot")
        return connection

    async def dead() -> int:
        return int(await held.fetchval("SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'runs_hot'"))

    held = postgres.call(begin())
    try:
        life.go_on(max(60.0, life.span))
        life.notes.append(f"{postgres.call(dead())} dead rows in runs_hot at the end")
    finally:
        postgres.call(held.close())
    life.until_started(10)


# ── another one takes its place ──────────────────────────────────────────────────────────────────────────


def fail_over(life: Life, postgres: Postgres) -> Postgres:
    """F13: a synchronous standby takes over from the primary, which is killed. Nothing may be lost by it."""
    standby = postgres.standby()
    life.at_end(standby.remove)
    postgres.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
    postgres.execute("SELECT pg_reload_conf()")
    sync = "SELECT 1 FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')"
    until(lambda: bool(postgres.execute(sync)), lambda: "the standby does not follow in step")
    life.go_on(5.0)
    postgres.kill()
    standby.promote()
    standby.execute("ALTER SYSTEM RESET synchronous_standby_names")
    standby.execute("SELECT pg_reload_conf()")
    lead_all_to(life, standby)
    life.until_started(10)
    return standby


def lossy_fail_over(life: Life, postgres: Postgres) -> Postgres:
    """F12: a standby that is cut off for a while takes over from the primary, which is killed: commits are lost."""
    way = life.machines.ways.add(lambda: ScriptedWay(postgres.url()))
    standby = postgres.standby(way.url)
    life.at_end(standby.remove)
    life.client.only_trigger()
    [[reached]] = postgres.execute("SELECT pg_current_wal_lsn()::text")
    follows = f"SELECT 1 FROM pg_stat_replication WHERE replay_lsn >= '{reached}'"
    until(lambda: bool(postgres.execute(follows)), lambda: "the standby does not follow")
    since = now(), probe.uptime()
    life.machines.ways.do(way.freeze)

    def promote() -> None:
        standby.promote()
        life.machines.ways.do(way.cut)

    go_back(life, postgres, standby, since, promote)
    return standby


def old_backup(life: Life, postgres: Postgres) -> Postgres:
    """F36: the database is lost, and restored from a base backup that is half a minute old; nobody says so."""
    life.client.only_trigger()
    since = now(), probe.uptime()
    backup = postgres.standby()
    life.at_end(backup.remove)
    backup.stop()

    def restore() -> None:
        backup.restart()
        backup.promote()

    life.go_on(20.0)
    go_back(life, postgres, backup, since, restore)
    return backup


def go_back(
    life: Life, primary: Postgres, other: Postgres, since: tuple[datetime, float], take_over: Callable[[], None]
) -> None:
    """Go on with what the other one does not see, and lose it all. A person looks, and accepts the loss."""
    asked, struck = since
    life.go_on(10.0)
    highest = max(event.fence for event in life.events())
    primary.kill()
    ended = probe.uptime()
    take_over()
    lead_all_to(life, other)
    lost = Window(asked=asked - timedelta(seconds=LAG_SECONDS), answered=now())

    def noticed() -> bool:
        return RESTORED in {one["key"] for one in life.api.get("/api/v1/alerts")["conditions"]}

    until(noticed, lambda: "nobody noticed that the database went back", NOTICED_SECONDS)
    life.notes.append(f"noticed {probe.uptime() - ended:.1f} s after the primary's end; fences were at {highest}")
    life.until_started(10)
    life.go_on(10.0)  # nobody looks sooner; by now all servers have answered the instants since
    life.history.rewinds.append(Rewind(lost=lost, struck=struck - LAG_SECONDS, known=probe.uptime()))
    cancelled = cancel_what_was_done(life)
    accepted, _ = life.api.until_answered("POST", "/api/v1/store:accept-restore", {})
    assert accepted["was_held"], accepted
    life.notes.append(f"{cancelled} at-most-once runs had been started before, and were cancelled by hand")
    life.client.change_again()
    life.until_started(10)


def cancel_what_was_done(life: Life) -> int:
    """What a person does before accepting: cancel the held at-most-once runs that did their work in the lost time."""
    started = {event.run for event in life.events() if event.kind == "start"}
    held = [one for one in life.api.pages("/api/v1/runs?q=state:queued&limit=1000") if one["id"] in started]
    once = [one for one in held if life.history.jobs[one["job"]].at_most_once]
    for one in once:
        life.api.until_answered("POST", f"/api/v1/runs/{one['id']}/cancel", {"reason": "done before the restore"})
    return len(once)


def lead_all_to(life: Life, database: Postgres) -> None:
    """Let all servers find this database where theirs was."""
    for server in life.machines.servers:
        server.database.lead_to(database.url(life.database.rpartition("/")[2]))
        life.machines.ways.do(server.database.cut)
    life.machines.until_led_by(life.machines.servers, 60.0)

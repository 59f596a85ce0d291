"""Opening PostgreSQL: what is refused, what is said, what is prepared; and how its connections are used."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from postgres_values import raw
from store_values import add_jobs, make_job, make_run, make_server, make_stats
from tests.postgres.between import TransactionPooler, Way
from tests.postgres.cluster import Cluster, binaries
from tests.postgres.clusters import FOR_TESTS, NEWEST, PREPARED, Clusters

from rota.core.errors import Invalid, StoreUnavailable, StoreUnusable, TooLarge
from rota.core.ids import shard_of
from rota.core.model import Trigger
from rota.store.bundle import Store
from rota.store.views import JobQuery
from rota.stores.postgres import PostgresOptions, open_postgres
from rota.stores.postgres.checks import Findings, ServerSettings, judge
from rota.stores.postgres.connection import VERBS, Connector
from rota.stores.postgres.lanes import Lanes, open_lanes

SOUND = ServerSettings(150000, "15.0", "UTF8", fsync=True, full_page_writes=True, synchronous_commit="on")


# Limits of ours take their time, and do not depend on the database's version.
OUR_OWN_CLOCK = pytest.mark.parametrize("kind", [NEWEST], indirect=True)


@pytest.fixture(params=tuple(binaries()))
def kind(request: pytest.FixtureRequest) -> str:
    """Which PostgreSQL."""
    found: str = request.param
    return found


@pytest.fixture
def cluster(kind: str, clusters: Clusters) -> Cluster:
    """The cluster."""
    return clusters[kind]


@pytest.fixture
def url(database: str | None) -> str:
    """Where a prepared database is."""
    assert database is not None
    return database


@pytest.fixture
async def lanes(url: str) -> AsyncIterator[Lanes]:
    """Lanes to it."""
    opened = open_lanes(Connector(url, "test"), PostgresOptions())
    yield opened
    await opened.close()


def name_of(url: str) -> str:
    return url.rpartition("/")[2]


async def refused(url: str, error: type[Exception], match: str, options: PostgresOptions = FOR_TESTS) -> None:
    """Opening fails in those words, and with a hint."""
    with pytest.raises(error, match=match):
        await open_postgres(url, options)


# ── what is looked at ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("settings", "refusals", "warnings"),
    [
        (SOUND, (), ()),
        (SOUND._replace(version_number=140011, version="14.11"), ("version 14.11",), ()),
        (SOUND._replace(encoding="LATIN1"), ("LATIN1",), ()),
        (SOUND._replace(fsync=False), ("fsync is off",), ()),
        (SOUND._replace(fsync=False, full_page_writes=False), ("fsync is off", "full_page_writes is off"), ()),
        (SOUND._replace(synchronous_commit="off"), (), ("synchronous_commit is off",)),
        (SOUND._replace(synchronous_commit="remote_apply"), (), ()),
    ],
)
def test_settings_are_judged(settings: ServerSettings, refusals: tuple[str, ...], warnings: tuple[str, ...]) -> None:
    found: Findings = judge(settings)
    assert len(found.refusals) == len(refusals)
    assert all(part in text for part, text in zip(refusals, found.refusals, strict=True))
    assert len(found.warnings) == len(warnings)
    assert all(part in text for part, text in zip(warnings, found.warnings, strict=True))


async def test_a_database_that_may_lose_what_it_acknowledged_is_refused_unless_told_otherwise() -> None:
    with Cluster(binaries()[NEWEST], {"fsync": "off"}) as careless:
        url = careless.create("here")
        await refused(url, StoreUnusable, "fsync is off")
        async with raw(url) as connection:
            assert await connection.fetchval("SELECT to_regnamespace('rota')") is None
        said: list[str] = []
        store = await open_postgres(url, PostgresOptions(days_ahead=0, unsafe=True), warn=said.append)
        assert [text for text in said if "fsync" in text] == said
        assert [text for text in await store.leases.check() if "fsync" in text] == said
        await store.close()


async def test_commits_that_do_not_wait_are_said(cluster: Cluster, url: str) -> None:
    cluster.execute(f'ALTER DATABASE "{name_of(url)}" SET synchronous_commit = off')
    said: list[str] = []
    store = await open_postgres(url, FOR_TESTS, warn=said.append)
    assert len(said) == 1
    assert "synchronous_commit is off" in said[0]
    assert await store.leases.check() == said
    await store.close()


async def test_a_database_of_another_encoding_is_refused(cluster: Cluster) -> None:
    cluster.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1'")
    await refused(cluster.url("latin"), StoreUnusable, "ENCODING 'UTF8'")
    cluster.drop(cluster.url("latin"))


@pytest.mark.parametrize("size", [1, 2, 5])
async def test_a_pooler_that_breaks_sessions_is_refused(url: str, size: int) -> None:
    async with TransactionPooler(url, size) as pooler:
        with pytest.raises(StoreUnusable, match=r"pooler|two uses of a connection|turn up") as caught:
            await open_postgres(pooler.url, FOR_TESTS)
        assert "session mode" in f"{caught.value} {caught.value.hint}"


async def test_a_way_that_keeps_sessions_is_none(url: str) -> None:
    async with Way(url) as way:
        store = await open_postgres(way.url, FOR_TESTS)
        await add_jobs(store, make_job())
        await store.close()


async def test_a_read_only_database_is_refused(cluster: Cluster, url: str) -> None:
    cluster.execute(f'ALTER DATABASE "{name_of(url)}" SET default_transaction_read_only = on')
    with pytest.raises(StoreUnavailable, match="read-only") as caught:
        await open_postgres(url, FOR_TESTS)
    assert "primary" in (caught.value.hint or "")


async def test_a_schema_of_another_program_is_refused(cluster: Cluster) -> None:
    url = cluster.create()
    async with raw(url) as connection:
        await connection.execute("CREATE SCHEMA rota; CREATE TABLE rota.users (id integer)")
    await refused(url, StoreUnusable, "another program")
    cluster.drop(url)


async def test_a_role_without_rights_is_told_what_it_needs_and_nothing_is_half_made(cluster: Cluster) -> None:
    url = cluster.create()
    cluster.execute("DROP ROLE IF EXISTS modest")
    cluster.execute("CREATE ROLE modest LOGIN")
    theirs = url.replace("rota@", "modest@")
    with pytest.raises(StoreUnusable, match="permission denied") as caught:
        await open_postgres(theirs, FOR_TESTS)
    assert "CREATE SCHEMA rota AUTHORIZATION" in (caught.value.hint or "")
    async with raw(url) as connection:
        assert await connection.fetchval("SELECT to_regnamespace('rota')") is None
        await connection.execute("CREATE SCHEMA rota AUTHORIZATION modest")
    store = await open_postgres(theirs, PostgresOptions(days_ahead=1))
    await add_jobs(store, make_job())
    await store.close()
    cluster.drop(url)
    cluster.execute("DROP ROLE modest")


async def test_what_is_wrong_with_the_way_to_a_database_is_said(cluster: Cluster, url: str) -> None:
    await refused(url.replace("rota@", "nobody_knows@"), StoreUnusable, "does not let this user in")
    await refused(url + "_not", StoreUnusable, "no such database")
    await refused("postgresql://rota@127.0.0.1:1/x", StoreUnavailable, "cannot be reached.*127.0.0.1:1, database x")
    await refused("postgresql://rota@127.0.0.1:none/x", StoreUnusable, "URL")
    with pytest.raises(StoreUnusable) as caught:
        await open_postgres(url.replace("rota@", "nobody_knows:secret@"), FOR_TESTS)
    assert "secret" not in str(caught.value)


async def test_a_database_with_too_many_clients_is_unavailable_for_now(cluster: Cluster) -> None:
    url = cluster.create(template=PREPARED)
    cluster.execute("DROP ROLE IF EXISTS crowd")
    cluster.execute("CREATE ROLE crowd LOGIN CONNECTION LIMIT 2")
    async with raw(url) as connection:
        await connection.execute("GRANT ALL ON SCHEMA rota TO crowd")
        await connection.execute("GRANT ALL ON ALL TABLES IN SCHEMA rota TO crowd")
    theirs = url.replace("rota@", "crowd@")
    async with raw(theirs):
        with pytest.raises(StoreUnavailable, match="takes no more connections") as caught:
            await open_postgres(theirs, FOR_TESTS)
    assert caught.value.retryable
    assert "max_connections" in (caught.value.hint or "")
    cluster.drop(url)
    cluster.execute("DROP ROLE crowd")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("DELETE FROM shards WHERE shard = 5", "shard 5 has no row"),
        ("DELETE FROM fences", "counter of fences"),
        ("DELETE FROM job_cursors", "job web/fetch has no cursor"),
        ("DELETE FROM jobs", "job_stats is of job"),
        ("UPDATE runs_hot SET shard = shard + 1", "is in shard"),
        ("DELETE FROM runs_hot", "which does not exist"),
        (
            "INSERT INTO runs_history SELECT * FROM runs_hot_1",
            "and past at once",
        ),
        (
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'runs_hot_job'::regclass",
            "runs_hot_job is not valid",
        ),
    ],
)
async def test_what_is_wrong_inside_is_found_by_the_check(url: str, damage: str, words: str) -> None:
    store = await open_postgres(url, FOR_TESTS)
    job = make_job(shard=shard_of(make_job().id, store.shards))
    await add_jobs(store, job)
    await store.runs.create([make_run(job, trigger=Trigger.MANUAL, key="k")])
    await store.runs.record([], [make_stats(job.id)], [])
    assert await store.leases.check() == []
    async with raw(url) as connection:
        await connection.execute("ALTER TABLE runs_history DROP CONSTRAINT runs_history_state_check")
        await connection.execute(damage)
    found = await store.leases.check()
    assert any(words in text for text in found), found
    await store.close()


# ── connections ──────────────────────────────────────────────────────────────────────────────────────────


async def test_connections_have_their_settings(lanes: Lanes) -> None:
    for lane in (lanes.verbs, lanes.leases):
        for name, value in VERBS.items():
            shown = await lane.value("SELECT current_setting($1)", name)
            assert shown in (value, f"{value}ms", f"{value[:-3]}s", f"{value}s"), name
    assert await lanes.verbs.value("SHOW application_name") == "test"
    assert await lanes.views.value("SHOW plan_cache_mode") == "force_custom_plan"
    async with lanes.patient() as lane:
        assert await lane.value("SHOW statement_timeout") == "1min"


async def test_a_store_has_a_handful_of_connections_and_leaves_none(cluster: Cluster, url: str) -> None:
    store = await open_postgres(url, FOR_TESTS)
    await asyncio.gather(
        *(store.jobs.by_id([]) for _ in range(50)),
        *(store.views.summary() for _ in range(50)),
        *(store.leases.now() for _ in range(50)),
    )
    count = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name_of(url)}'"
    assert cluster.execute(count)[0][0] <= 7
    idle = cluster.execute(f"SELECT state FROM pg_stat_activity WHERE datname = '{name_of(url)}'")
    assert {state for (state,) in idle} == {"idle"}
    await store.close()
    async with asyncio.timeout(10):
        while cluster.execute(count)[0][0] > 0:
            pass


async def test_one_connection_for_each_purpose_is_enough(url: str) -> None:
    store = await open_postgres(url, PostgresOptions(verbs=1, views=1, days_ahead=0))
    jobs = [make_job(f"web/job-{number}") for number in range(5)]
    await asyncio.gather(*(add_jobs(store, job) for job in jobs))
    assert len((await store.views.jobs(JobQuery(), "name", None, 10)).items) == 5
    await store.close()


@OUR_OWN_CLOCK
async def test_a_renewal_does_not_wait_behind_batches(url: str, lanes: Lanes) -> None:
    store = await open_postgres(url, FOR_TESTS)
    await store.leases.join(make_server("a"), 4.0)
    async with asyncio.timeout(30):
        busy = [asyncio.ensure_future(lanes.verbs.rows("SELECT pg_sleep(1)")) for _ in range(9)]
        await asyncio.sleep(0)
        assert await lanes.leases.value("SELECT rota_renew_1('a', 4000000)") is not None
        assert not any(task.done() for task in busy)
        await asyncio.gather(*busy)
    await store.close()


async def test_closing_waits_for_what_was_accepted(url: str) -> None:
    store = await open_postgres(url, FOR_TESTS)
    writes = [asyncio.ensure_future(store.leases.remember(f"k{number}", "v")) for number in range(100)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*writes)
    store = await open_postgres(url, FOR_TESTS)
    assert await store.leases.fact("k99") == "v"
    await store.close()


async def test_a_caller_that_gives_up_disturbs_nobody(url: str) -> None:
    store = await open_postgres(url, FOR_TESTS)
    verbs = [asyncio.ensure_future(store.leases.remember(f"k{number}", "v")) for number in range(60)]
    await asyncio.sleep(0)
    for verb in verbs[::2]:
        verb.cancel()
    answers = await asyncio.gather(*verbs, return_exceptions=True)
    assert {type(answer) for answer in answers[1::2]} == {type(None)}
    assert await store.leases.fact("k59") == "v"
    await store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.leases.now()


# ── trouble under way ────────────────────────────────────────────────────────────────────────────────────


@OUR_OWN_CLOCK
async def test_a_statement_without_end_is_stopped(lanes: Lanes) -> None:
    verb, search = await asyncio.gather(
        lanes.verbs.rows("SELECT pg_sleep(60)"), lanes.views.rows("SELECT pg_sleep(60)"), return_exceptions=True
    )
    assert isinstance(verb, StoreUnavailable)
    assert isinstance(search, TooLarge)
    assert await lanes.verbs.value("SELECT 1") == await lanes.views.value("SELECT 1") == 1


@OUR_OWN_CLOCK
async def test_a_lock_that_is_not_given_is_tried_for_and_then_said(lanes: Lanes, url: str) -> None:
    async with raw(url) as other:
        await other.execute("BEGIN")
        await other.execute("LOCK TABLE facts IN ACCESS EXCLUSIVE MODE")
        asked = asyncio.get_running_loop().time()
        with pytest.raises(StoreUnavailable, match="lock was not free") as caught:
            await lanes.verbs.rows("SELECT * FROM facts")
        assert 2 < asyncio.get_running_loop().time() - asked < 6, "more than one attempt, and not for ever"
        assert "pg_stat_activity" in (caught.value.hint or "")
        await other.execute("ROLLBACK")
    assert await lanes.verbs.rows("SELECT * FROM facts") == []


@pytest.mark.parametrize("state", ["40001", "40P01", "55P03"])
async def test_a_verb_that_lost_a_race_is_repeated(lanes: Lanes, url: str, state: str) -> None:
    async with raw(url) as other:
        await other.execute("CREATE SEQUENCE tries")
        await other.execute(
            "CREATE FUNCTION lose(times integer) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN IF nextval('tries') <="
            f" times THEN RAISE SQLSTATE '{state}'; END IF; RETURN currval('tries'); END $$"
        )
    assert await lanes.verbs.value("SELECT lose(3)") == 4
    with pytest.raises(StoreUnavailable):
        await lanes.verbs.value("SELECT lose(1000)")
    assert await lanes.verbs.value("SELECT lose(0)") == 10, "five times in all, the first included"


@pytest.mark.parametrize(
    ("state", "error", "words"),
    [
        ("53100", StoreUnavailable, "disk under the database is full"),
        ("53300", StoreUnavailable, "no more connections"),
        ("53200", StoreUnavailable, "run out of something"),
        ("25006", StoreUnavailable, "read-only"),
        ("58030", StoreUnavailable, "disk under the database reports an error"),
        ("57P03", StoreUnavailable, "starting or shutting down"),
        ("08006", StoreUnavailable, "connection to the database is gone"),
        ("XX001", StoreUnusable, "damaged"),
        ("42501", StoreUnusable, "role may not"),
        ("42P01", StoreUnusable, "does not have what"),
        ("42P05", StoreUnusable, "statements of others"),
        ("26000", StoreUnusable, "statements are lost"),
        ("22003", Invalid, "cannot keep"),
        ("23514", Invalid, "refuses the row"),
        ("54000", Invalid, "larger than"),
        ("P0001", StoreUnusable, "does not answer as it should"),
        ("ZZ999", StoreUnusable, "does not answer as it should"),
    ],
)
async def test_errors_of_the_database_are_said_in_our_words(
    lanes: Lanes, state: str, error: type[Exception], words: str
) -> None:
    function = f"CREATE FUNCTION pg_temp.fail() RETURNS int LANGUAGE plpgsql AS $$BEGIN RAISE SQLSTATE '{state}'; END$$"
    lane = lanes.leases  # one connection: what is temporary in it stays
    await lane.rows(function)
    with pytest.raises(error, match=words) as caught:
        await lane.rows("SELECT pg_temp.fail()")
    assert isinstance(caught.value, Invalid) or "127.0.0.1" in str(caught.value)


@pytest.mark.parametrize("text", ["a\0b", "\udc80"])
async def test_text_that_no_row_can_hold_is_refused(url: str, text: str) -> None:
    store = await open_postgres(url, FOR_TESTS)
    with pytest.raises(Invalid):
        await store.leases.remember("key", text)
    with pytest.raises(Invalid):
        await add_jobs(store, make_job(source=text))
    assert await store.jobs.by_source(None) == []
    await store.close()


async def test_numbers_that_no_row_can_hold_are_refused(url: str) -> None:
    store = await open_postgres(url, FOR_TESTS)
    with pytest.raises(Invalid):
        await add_jobs(store, make_job(revision=2**40))
    await store.close()


@OUR_OWN_CLOCK
async def test_a_way_that_falls_silent_holds_nobody_for_long(url: str) -> None:
    async with Way(url) as way:
        store = await open_postgres(way.url, FOR_TESTS)
        await store.leases.join(make_server("a"), 4.0)
        way.freeze()
        asked = asyncio.get_running_loop().time()
        answers = await asyncio.gather(
            store.leases.renew("a", 4.0), store.leases.remember("a", "b"), store.views.summary(), store.leases.now(),
            return_exceptions=True,
        )  # fmt: skip
        assert {type(answer) for answer in answers} == {StoreUnavailable}
        assert asyncio.get_running_loop().time() - asked < 6
        way.thaw()
        async with asyncio.timeout(20):
            while not await renewed(store):
                pass
        await store.close()


async def renewed(store: Store) -> bool:
    """Whether the lease could be renewed."""
    with contextlib.suppress(StoreUnavailable):
        return await store.leases.renew("a", 4.0) is not None
    return False


async def test_cut_connections_are_made_anew(url: str) -> None:
    async with Way(url) as way:
        store = await open_postgres(way.url, FOR_TESTS)
        await store.leases.join(make_server("a"), 4.0)
        way.cut()
        async with asyncio.timeout(10):
            while not await renewed(store):
                pass
        way.cut()
        with contextlib.suppress(StoreUnavailable):
            await store.leases.remember("a", "b")
        async with asyncio.timeout(10):
            while not await renewed(store):
                pass
        await store.close()


async def test_the_primary_is_found_after_a_fail_over(kind: str) -> None:
    with Cluster(binaries()[kind]) as first, contextlib.ExitStack() as stack:
        first.create("here")
        second = first.standby()
        stack.callback(second.remove)
        with pytest.raises(StoreUnavailable, match="read-only") as caught:
            await open_postgres(second.url("here"), FOR_TESTS)
        assert "primary" in (caught.value.hint or "")
        both = f"postgresql://rota@127.0.0.1:{second.port},127.0.0.1:{first.port}/here"
        first.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        first.execute("SELECT pg_reload_conf()")
        store = await open_postgres(both, FOR_TESTS)
        await store.leases.join(make_server("a"), 1000.0)
        fence = await store.leases.reserve_fences(9000)
        await asyncio.to_thread(first.kill)
        await asyncio.to_thread(second.promote)
        async with asyncio.timeout(10):
            while not await renewed(store):
                pass
        assert await store.leases.reserve_fences(1) >= fence + 9000
        await store.close()


@OUR_OWN_CLOCK
async def test_nobody_hammers_a_database_that_is_down(url: str) -> None:
    store = await open_postgres(url, FOR_TESTS)  # it was there once
    await store.close()
    attempts = 0

    async def turn_away(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal attempts
        attempts += 1
        writer.close()

    server = await asyncio.start_server(turn_away, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connector = Connector(f"postgresql://rota@127.0.0.1:{port}/x", "test")
    lanes = open_lanes(connector, PostgresOptions())
    end = asyncio.get_running_loop().time() + 1.5
    asked = 0
    while asyncio.get_running_loop().time() < end:
        answers = await asyncio.gather(
            *(lane.rows("SELECT 1") for lane in (lanes.verbs, lanes.leases, lanes.views)), return_exceptions=True
        )
        assert {type(answer) for answer in answers} == {StoreUnavailable}
        asked += len(answers)
    assert asked > 100
    assert 3 <= attempts <= 12
    server.close()
    await lanes.close()

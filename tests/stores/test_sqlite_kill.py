"""kill -9 in the middle of group commits: what was acknowledged is there, and the file is sound."""

import asyncio
import random
import subprocess
import sys
from pathlib import Path

from store_values import NOON, add_jobs, after, make_job, make_run

from rota.clock import ManualClock
from rota.core.model import RunState
from rota.stores.sqlite import open_sqlite

ROUNDS = 20

WRITER = '''
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from store_values import after, finished, make_job, make_run
from rota.clock import SystemClock
from rota.store.jobs import RunChange
from rota.stores.sqlite import open_sqlite

async def cycle(store, job, first, count):
    """Create and finish a few runs; print each id once its end is acknowledged."""
    runs = [make_run(job, after(second)) for second in range(first, first + count)]
    await store.runs.create(runs)
    await store.runs.record([RunChange(run=finished(run)) for run in runs[1:]], [], [])
    sys.stdout.write("".join(f"{first + place} {'ended' if place else 'queued'}\\n" for place in range(count)))
    sys.stdout.flush()

async def main():
    store = await open_sqlite(Path(sys.argv[1]), clock=SystemClock())
    job = make_job()
    first = int(sys.argv[3])
    print(await store.leases.reserve_fences(10), flush=True)
    while True:
        await asyncio.gather(*(cycle(store, job, first + 7 * lane, 7) for lane in range(8)))
        first += 56

asyncio.run(main())
'''


def write_until_killed(path: Path, first: int, lines: int) -> tuple[int, list[tuple[int, str]]]:
    """Let a process write, kill it after it acknowledged so many runs; returns its fence and all it acknowledged."""
    command = [sys.executable, "-c", WRITER, str(path), str(Path(__file__).parent), str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        fence = int(process.stdout.readline())
        seen = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        seen += process.stdout.readlines()
    complete = [line.split() for line in seen if line.endswith("\n")]
    return fence, [(int(number), word) for number, word in complete]


async def test_nothing_acknowledged_is_lost_by_kill(tmp_path: Path) -> None:
    path, clock, rng = tmp_path / "rota.db", ManualClock(NOON), random.Random(7)
    job = make_job()
    store = await open_sqlite(path, clock=clock)
    await add_jobs(store, job)
    await store.close()
    acknowledged: dict[int, str] = {}
    fences: list[int] = []
    for round_ in range(ROUNDS):
        first = round_ * 100_000
        fence, told = await asyncio.to_thread(write_until_killed, path, first, rng.randrange(1, 400))
        fences.append(fence)
        acknowledged.update(told)
        store = await open_sqlite(path, clock=clock)
        assert await store.leases.check() == []
        runs = await store.runs.get([make_run(job, after(number)).id for number, _ in told])
        assert len(runs) == len(told)
        for number, word in told:
            state = runs[make_run(job, after(number)).id].state
            assert state is (RunState.SUCCEEDED if word == "ended" else RunState.QUEUED), number
        await store.close()
    assert fences == sorted(set(fences))
    assert len(acknowledged) > ROUNDS

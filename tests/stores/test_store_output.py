"""The contract of output: chunks once, read from any line, the same before and after they are merged."""

import random
from datetime import timedelta

from msgspec.structs import replace
from store_values import NOON, make_chunk, make_job, make_run

from rota.core.model import OutputChunk, OutputLine, RunId
from rota.store.bundle import Store
from rota.store.output import OutputSize

RUN = make_run(make_job()).id
OTHER = make_run(make_job("web/other")).id


def lines_of(chunks: list[OutputChunk]) -> list[bytes]:
    return [line.data for chunk in chunks for line in chunk.lines]


async def read_all(store: Store, run: RunId = RUN, attempt: int = 1) -> list[OutputChunk]:
    return await store.output.read(run, attempt, 0, 10**9)


async def test_chunks_are_read_as_they_were_written(store: Store) -> None:
    noise = random.Random(1).randbytes(60_000)
    big = OutputChunk(
        run_id=RUN,
        attempt=1,
        sequence=1,
        first_line=1,
        offset=6,
        lines=(OutputLine(5, 1, noise), OutputLine(6, 2, b"")),
    )
    small = make_chunk(RUN, 0, 0, "hello")
    await store.output.append([big, small])
    assert await read_all(store) == [small, big]
    assert await store.output.size(RUN, 1) == OutputSize(lines=3, bytes=60_006)
    assert await store.output.size(RUN, 2) == OutputSize()


async def test_a_chunk_sent_again_changes_nothing(store: Store) -> None:
    chunk = make_chunk(RUN, 0, 0, "first")
    await store.output.append([chunk])
    await store.output.append([make_chunk(RUN, 0, 0, "second"), make_chunk(RUN, 1, 1, "third"), chunk])
    assert lines_of(await read_all(store)) == [b"first\n", b"third\n"]


async def test_attempts_and_runs_are_apart(store: Store) -> None:
    chunks = [make_chunk(RUN, 0, 0, "a"), make_chunk(RUN, 0, 0, "b", attempt=2), make_chunk(OTHER, 0, 0, "c")]
    await store.output.append(chunks)
    assert await read_all(store) == [chunks[0]]
    assert await read_all(store, attempt=2) == [chunks[1]]
    assert await read_all(store, OTHER) == [chunks[2]]


async def test_reading_begins_at_a_line_and_stops_when_there_is_enough(store: Store) -> None:
    chunks = [make_chunk(RUN, place, place * 3, "a", "b", "c") for place in range(5)]
    await store.output.append(chunks)
    assert await store.output.read(RUN, 1, 4, 2) == [chunks[1]]
    assert await store.output.read(RUN, 1, 4, 3) == chunks[1:3]
    assert await store.output.read(RUN, 1, 6, 1) == [chunks[2]]
    assert await store.output.read(RUN, 1, 15, 5) == []
    assert await store.output.read(RUN, 1, 0, 0) == []


async def test_merging_changes_nothing_that_is_read(store: Store) -> None:
    rng = random.Random(5)
    chunks = []
    first_line = offset = 0
    for sequence in range(60):
        lines = tuple(OutputLine(sequence, 0, rng.randbytes(rng.choice((3, 800)))) for _ in range(20))
        chunks.append(
            OutputChunk(run_id=RUN, attempt=1, sequence=sequence, first_line=first_line, offset=offset, lines=lines)
        )
        first_line, offset = first_line + 20, offset + sum(len(line.data) for line in lines)
    await store.output.append([*chunks, make_chunk(OTHER, 0, 0, "alone"), make_chunk(RUN, 0, 0, "x", attempt=2)])
    size = await store.output.size(RUN, 1)
    await store.output.merge([RUN, OTHER])
    merged = await read_all(store)
    assert lines_of(merged) == lines_of(chunks)
    assert len(merged) <= size.bytes // (200 * 1024) + 1
    assert all(sum(len(line.data) for line in chunk.lines) <= 256 * 1024 for chunk in merged)
    assert await store.output.size(RUN, 1) == size
    for chunk in merged:
        same = next(one for one in chunks if one.sequence == chunk.sequence)
        assert (chunk.first_line, chunk.offset) == (same.first_line, same.offset)
    assert lines_of(await store.output.read(RUN, 1, 777, 1))  # a line in the middle is found
    assert await read_all(store, OTHER) == [make_chunk(OTHER, 0, 0, "alone")]


async def test_a_chunk_sent_again_after_the_merge_changes_nothing(store: Store) -> None:
    chunks = [make_chunk(RUN, place, place, f"line {place}") for place in range(6)]
    await store.output.append(chunks)
    await store.output.merge([RUN])
    await store.output.append([chunks[3], chunks[5], make_chunk(RUN, 6, 6, "line 6")])
    assert lines_of(await read_all(store)) == [f"line {place}\n".encode() for place in range(7)]
    await store.output.merge([RUN])
    assert len(await read_all(store)) == 1


async def test_merging_does_not_close_a_hole(store: Store) -> None:
    late = make_chunk(RUN, 2, 2, "late")
    await store.output.append([make_chunk(RUN, place, place, str(place)) for place in (0, 1, 3, 4)])
    await store.output.merge([RUN])
    await store.output.append([late])
    assert lines_of(await read_all(store)) == [b"0\n", b"1\n", b"late\n", b"3\n", b"4\n"]


async def test_pruning_takes_whole_days(store: Store) -> None:
    job = make_job()
    runs = [make_run(job, NOON - timedelta(days=days)).id for days in range(4)]
    await store.output.append([make_chunk(run, place, place, "x") for run in runs for place in range(2)])
    midnight = NOON.replace(hour=0)
    assert await store.output.prune(midnight - timedelta(days=2), 100) == 2
    assert await read_all(store, runs[3]) == []
    assert len(await read_all(store, runs[2])) == 2
    assert await store.output.prune(midnight - timedelta(days=1), 1) == 1
    assert await store.output.prune(NOON, 100) == 5  # the day of noon begins before noon
    assert await read_all(store, runs[0]) == []


async def test_many_chunks_are_one_insert(store: Store) -> None:
    runs = [make_run(make_job(f"web/{number}")).id for number in range(200)]
    chunks = [replace(make_chunk(RUN, 0, 0, "x"), run_id=run) for run in runs]
    await store.output.append(chunks)
    await store.output.append([])
    await store.output.merge([])
    assert [await read_all(store, run) for run in runs[:3]] == [[chunk] for chunk in chunks[:3]]

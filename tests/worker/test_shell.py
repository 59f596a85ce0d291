"""Shell attempts from the order to the report, with real processes."""

from pathlib import Path


async def test_a_command_runs_and_its_output_comes_before_its_end(server):
    finished, text = await server.run("echo out; echo err >&2")
    assert (finished.outcome, finished.exit, finished.failure) == ("succeeded", 0, None)
    assert sorted(text.splitlines()) == ["err", "out"]
    assert finished.wrote_output
    assert finished.started <= finished.finished


async def test_exit_code_and_signal_are_told_apart(server):
    finished, _ = await server.run("exit 3")
    assert (finished.outcome, finished.exit, finished.signal, finished.failure) == ("failed", 3, None, "exit")
    finished, _ = await server.run("kill -SEGV $$")
    assert (finished.outcome, finished.exit, finished.signal, finished.failure) == ("failed", None, 11, "signal")


async def test_a_timeout_kills_what_daemonised_itself(server, tmp_path: Path):
    pid_file = tmp_path / "pid"
    command = (
        f"trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$ > {pid_file}; sleep 60; sleep 60' & sleep 60; sleep 60"
    )
    finished, _ = await server.run(command, timeout=0.5, kill_grace=0.2)
    assert (finished.outcome, finished.failure) == ("timed-out", "timeout")
    assert not Path(f"/proc/{pid_file.read_text().strip()}").exists()


async def test_what_is_left_in_the_background_is_ended_with_the_command(server, tmp_path: Path):
    pid_file = tmp_path / "pid"
    order = server.order(
        f"setsid sh -c 'echo $$ > {pid_file}; exec sleep 60' & while ! test -s {pid_file}; do :; done; exit 0"
    )
    await server.assign(order)
    finished = await server.finished(order)
    assert finished.outcome == "succeeded"
    assert not Path(f"/proc/{pid_file.read_text().strip()}").exists()
    assert "1 process(es)" in server.text(order, 2)

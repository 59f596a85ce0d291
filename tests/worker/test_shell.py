"""Shell attempts from the order to the report, with real processes."""

import os
from pathlib import Path

from msgspec.structs import replace
from tests.worker.fake_server import FakeServer

from rota.core.model import ShellTask


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


async def test_the_environment_is_clean_and_complete(server, monkeypatch, tmp_path):
    monkeypatch.setenv("LEAKED", "from the worker")
    facts = {
        "env": {"MINE": "1", "LD_PRELOAD": "/x.so", "ROTA_JOB": "forged", "BASH_ENV": "/x"},
        "secrets": {"TOKEN": "geheim-wert"},
        "params": {"some-name": "$(rm -rf /); `x` 'y' \"z\"\n-rf"},
    }
    finished, text = await server.run("env -0", **facts)
    environment = dict(entry.split("=", 1) for entry in text.split("\0") if "=" in entry)
    assert finished.outcome == "succeeded"
    assert set(environment) - {"PWD", "OLDPWD", "SHLVL", "_"} == {
        "HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "MINE", "TOKEN", "ROTA_PARAM_SOME_NAME", "ROTA_RUN_ID",
        "ROTA_JOB", "ROTA_DUE", "ROTA_ATTEMPT", "ROTA_FENCE", "ROTA_WORKER", "ROTA_OUT", "ROTA_TREE",
    }  # fmt: skip
    assert environment["ROTA_PARAM_SOME_NAME"] == facts["params"]["some-name"]
    assert (environment["ROTA_JOB"], environment["PATH"], environment["SHELL"]) == (
        "test/job",
        "/usr/bin:/bin",
        "/bin/sh",
    )
    assert (environment["ROTA_DUE"], environment["TOKEN"]) == ("2026-11-23T03:00:00Z", "•••(TOKEN)")


async def test_only_the_standard_descriptors_are_open(server):
    _, text = await server.run("ls /proc/$$/fd; umask")
    assert text.split() == ["0", "1", "2", "0077"]


async def test_stdin_is_given_and_else_empty(server):
    assert (await server.run(ShellTask(command="cat; wc -c", stdin="line ä\n" * 20_000)))[1].endswith("ä\n0\n")
    assert (await server.run("cat; echo end"))[1] == "end\n"


async def test_the_working_folder_is_private_unless_named(server, tmp_path, settings):
    finished, text = await server.run("pwd; echo x > scratch; ls")
    assert finished.outcome == "succeeded"
    assert text.split()[1] == "scratch"
    assert not Path(text.split()[0]).exists()
    assert (await server.run("pwd", cwd=str(tmp_path)))[1] == f"{tmp_path}\n"
    home = (await server.run("echo $HOME"))[1].strip()
    finished, text = await server.run("pwd", cwd="~")
    assert text.strip() == home if Path(home).is_dir() else home in finished.error
    finished, _ = await server.run("pwd", cwd="/no/such/place")
    assert (finished.failure, "/no/such/place" in finished.error) == ("start", True)


async def test_files_in_rota_out_are_kept_and_an_empty_folder_is_not(server, settings):
    kept, empty = server.order("echo x > $ROTA_OUT/file"), server.order("test -d $ROTA_OUT")
    await server.assign(kept, empty)
    assert [(await server.finished(order)).outcome for order in (kept, empty)] == ["succeeded", "succeeded"]
    assert (settings.state / "attempts" / str(kept.fence) / "file").read_text() == "x\n"
    assert not (settings.state / "attempts" / str(empty.fence)).exists()


async def test_an_attempt_whose_files_get_no_short_name_has_ended_all_the_same(server, settings):
    """The folder takes no link: here because there is something else in its place."""
    attempts = settings.state / "attempts"
    order = server.order(f"echo x > $ROTA_OUT/file; mv {attempts} {attempts}-elsewhere; echo > {attempts}")
    await server.assign(order)
    assert (await server.finished(order)).outcome == "succeeded"


async def test_what_cannot_be_started_says_why(server):
    finished, _ = await server.run("echo a\0b")
    assert (finished.failure, "NUL" in finished.error) == ("start", True)
    finished, _ = await server.run("true", env={"BIG": "x" * 200_000})
    assert (finished.failure, "too long" in finished.error) == ("start", True)
    finished, _ = await server.run("no-such-command-at-all")
    assert (finished.exit, "PATH=/usr/bin:/bin" in finished.error) == (127, True)


async def test_a_secret_in_an_error_is_masked(server):
    order = server.order("true", cwd="/none/hunter22-folder", secrets={"PASSWORD": "hunter22"})
    await server.assign(order)
    report = await server.finished(order)
    assert "/none/•••(PASSWORD)-folder" in report.error


async def test_a_long_command_arrives_whole(server):
    finished, text = await server.run(f"printf %s '{'x' * 100_000}' | wc -c")
    assert (finished.outcome, text.strip()) == ("succeeded", "100000")


async def test_usage_counts_the_whole_tree(server):
    burn = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"
    finished, _ = await server.run(f"sh -c '{burn}'; head -c 40000000 /dev/zero | tail -c 30000000 > /dev/null")
    assert finished.usage.cpu_seconds > 0.02
    assert finished.usage.peak_memory > 25_000_000


async def test_a_user_that_is_not_allowed_is_rejected_with_the_fix(server):
    finished, _ = await server.run("id", user="nobody")
    assert (finished.outcome, finished.failure) == ("rejected", "rejected")
    assert "allowed_users" in finished.error


async def test_an_allowed_user_is_switched_to_or_the_need_of_root_is_named(settings, tmp_path):
    fake = FakeServer(replace(settings, allowed_users=("daemon", "no-such-user")))
    await fake.until(lambda: fake.hello)
    finished, text = await fake.run("id -un; echo $USER $HOME", user="daemon")
    missing, _ = await fake.run("id", user="no-such-user")
    await fake.close()
    if os.getuid() == 0:
        assert (finished.outcome, text.split()[:2]) == ("succeeded", ["daemon", "daemon"])
    else:
        assert (finished.outcome, "runs as root" in finished.error) == ("rejected", True)
    assert "does not exist" in missing.error


async def test_many_runs_at_once_all_end(server, monkeypatch):
    monkeypatch.setattr("rota.worker.workload.WAITED_TOO_LONG", 60)  # more than the credit: a busy machine takes long
    orders = [server.order(f"echo {number}; exit {number % 3}") for number in range(150)]
    await server.assign(*orders)
    for number, order in enumerate(orders):
        assert (await server.finished(order)).exit == number % 3
        assert server.text(order) == f"{number}\n"


async def test_a_process_that_clears_its_environment_and_leaves_the_group_still_ends(server, tmp_path):
    leave = f"env -i setsid sh -c 'echo $$ > {tmp_path}/pid; exec sleep 300' & "
    order = server.order(
        leave + f"while ! test -s {tmp_path}/pid; do sleep 0.01; done; sleep 300", timeout=0.5, kill_grace=0.1
    )
    await server.assign(order)
    assert (await server.finished(order)).outcome == "timed-out"
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()

"""The warm runner: one python process that calls the functions of python jobs, one at a time.

Standard library only, one file, Python 3.9 or newer: it runs in the job's own interpreter. Requests are texts of JSON
in the memory of descriptor 6; a token in the pipe 5 says where one is, and whoever takes the token has the request: the
agent takes back what has not begun. Answers are lines of JSON on descriptor 3. After an attempt that printed or
started processes the runner waits on descriptor 4 until the agent has seen to it, so that output and processes are
never taken for the next attempt's.
"""

from __future__ import annotations

import array
import asyncio
import difflib
import fcntl
import importlib
import inspect
import json
import os
import resource
import socket
import struct
import sys
import termios
import time
import traceback
from collections.abc import Callable
from datetime import datetime
from typing import Any

PROTOCOL = 1
RESULT_LIMIT = 64 * 1024
_ANSWERS, _GO, _TOKENS, _TEXTS = 3, 4, 5, 6
_TOKEN = struct.Struct("<QQ")  # offset and length of a text
_AT_ONCE = 0.001  # seconds after an attempt within which the next one's use of the machine counts from its end
_JSON = {False: "false", True: "true"}
_LOOK_AT_FILES = 1.0  # seconds between looks at whether the code has changed on disk


class NotFound(Exception):
    """The function of the job does not exist; the message says what there is."""


class Run:
    """What a function that has a parameter `run` is given."""

    def __init__(self, environment: dict[str, str], params: dict[str, str], out: str) -> None:
        self.run_id = self.id = environment["ROTA_RUN_ID"]
        self.job = environment["ROTA_JOB"]
        self.due = datetime.fromisoformat(environment["ROTA_DUE"].replace("Z", "+00:00"))
        self.attempt = int(environment["ROTA_ATTEMPT"])
        self.fence = int(environment["ROTA_FENCE"])
        self.params = params
        self.out = out

    def __repr__(self) -> str:
        return f"<Run {self.run_id} of {self.job}, due {self.due}, attempt {self.attempt}>"


class Usage:
    """What this process and the ended ones below it have used since it began."""

    __slots__ = ("at", "child_faults", "cpu", "memory")

    def __init__(self) -> None:
        own = resource.getrusage(resource.RUSAGE_SELF)
        theirs = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.cpu = own.ru_utime + own.ru_stime + theirs.ru_utime + theirs.ru_stime
        self.memory = own.ru_maxrss * 1024
        self.child_faults = theirs.ru_minflt
        self.at = time.monotonic()


class Function:
    """A job's function and how it wants to be called."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call
        self.is_async = inspect.iscoroutinefunction(call)
        try:
            self.wants_run = "run" in inspect.signature(call).parameters
        except (TypeError, ValueError):
            self.wants_run = False


class Runner:
    """Takes requests until the agent is gone."""

    def __init__(self, folder: str, outs: str) -> None:
        self.folder = folder
        self.outs = outs  # how the paths of the folders for files begin
        self.out = ""  # the present one; one that stays untouched serves the next attempt
        self.out_changed = 0
        self.out_count = 0
        self.socket = socket.socket(fileno=_ANSWERS)
        for descriptor in (_ANSWERS, _GO, _TOKENS, _TEXTS):
            os.set_inheritable(descriptor, False)
        self.environment = dict(os.environ)
        self.given: dict[str, str] = {}  # what the last attempt's environment had beyond it
        self.left: dict[Any, Any] | None = None  # all of it as it was then, in the interpreter's own form
        self.functions: dict[str, Function] = {}
        self.files: dict[str, int] = {}  # of modules below the working folder → time of their last change
        self.looked = time.monotonic()
        self.unread = array.array("i", [0])
        self.used = Usage()  # as of the end of the last attempt
        self.floor = -1  # the peak of memory when it was last begun to be measured anew
        try:
            self.peak = os.open("/proc/self/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
        except OSError:
            self.peak = -1

    def serve(self) -> None:
        self._say(json.dumps({"ready": PROTOCOL, "version": sys.version.split()[0]}))
        while True:
            request = self._next_request()
            if request is None:
                return
            if self._code_has_changed():
                self._say(json.dumps({"id": request["id"], "stale": True}))
                os.read(_GO, 8)  # never comes: the agent ends this process
            try:
                self._prepare(request["env"])
            except OSError as error:
                self._say(self._unstarted(request["id"], error))
                continue
            answer, waits = self.attempt(request)
            self._say(answer)
            if waits:
                os.read(_GO, 8)

    def _next_request(self) -> dict[str, Any] | None:
        token = os.read(_TOKENS, _TOKEN.size)
        if not token:
            return None
        offset, length = _TOKEN.unpack(token)
        text = b""
        while len(text) < length:
            text += os.pread(_TEXTS, length - len(text), offset + len(text))
        request: dict[str, Any] = json.loads(text.decode())
        return request

    def _say(self, answer: str) -> None:
        self.socket.sendall(answer.encode() + b"\n")

    def _unstarted(self, name: str, error: OSError) -> str:
        now = time.monotonic()
        text = _plain(f"its process could not prepare it: {error}")
        facts = {"failure": "start", "error": text, "errno": error.errno}
        return json.dumps({"id": name, "begin": now, "end": now, **facts})

    # ── one attempt ──────────────────────────────────────────────────────────────────────────────────────

    def attempt(self, request: dict[str, Any]) -> tuple[str, bool]:
        """The answer, and whether it asks the agent for something that must be waited for."""
        begin = time.monotonic()
        before = self.used if begin - self.used.at < _AT_ONCE else Usage()
        try:
            outcome = self._kept(self._called(request))
        except NotFound as error:
            outcome = {"failure": "start", "error": _plain(str(error))}
        except SystemExit as error:
            outcome = self._exited(error)
        except BaseException as error:  # whatever the function raises is its outcome, not ours
            self._print_traceback(error)
            outcome = {"failure": "exception", "error": self._in_one_line(error)}
        self._flush()
        sweep = self._has_children()
        waits = self._unread(1) > 0 or self._unread(2) > 0
        after = self.used = Usage()  # after the look at the pipes: what is read later is not this attempt's
        sweep |= after.child_faults != before.child_faults
        waits |= sweep
        self._settle_out()
        # By hand: of most attempts there is nothing else to be said, and json.dumps would take a tenth of their time.
        answer = (
            f'{{"id":"{request["id"]}","begin":{begin!r},"end":{after.at!r},"cpu":{after.cpu - before.cpu!r},'
            f'"memory":{after.memory},"sweep":{_JSON[sweep]},"wait":{_JSON[waits]}'
        )
        return (answer + "," + json.dumps(outcome)[1:] if outcome else answer + "}"), waits

    def _prepare(self, environment: dict[str, str]) -> None:
        """Undo what the last attempt may have changed, and set this one's environment."""
        os.chdir(self.folder)
        os.umask(0o077)
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
        self._make_out()
        environment["ROTA_OUT"] = self.out
        self._set_environment(environment)
        if self.peak >= 0 and self.used.memory != self.floor:  # the last attempt needed more than there was before
            os.write(self.peak, b"5")  # begin to measure the peak anew
            self.floor = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def _set_environment(self, given: dict[str, str]) -> None:
        """Make the environment the process's first one and `given`; only what differs where nobody has touched it."""
        raw = getattr(os.environ, "_data", None)
        if raw is not None and raw == self.left and given.keys() == self.given.keys():
            changes = [(name, value) for name, value in given.items() if self.given[name] != value]
        else:
            wanted = {**self.environment, **given}
            for name in set(os.environ) - set(wanted):
                del os.environ[name]
            changes = [(name, value) for name, value in wanted.items() if os.environ.get(name) != value]
        for name, value in changes:
            os.environ[name] = value
        self.given, self.left = given, None if raw is None else dict(raw)

    def _make_out(self) -> None:
        """See that there is an empty folder for the attempt's files."""
        if not self.out:
            self.out_count += 1
            out = f"{self.outs}.{self.out_count}"
            os.mkdir(out, 0o700)
            self.out_changed = os.stat(out).st_ctime_ns
            self.out = out

    def _settle_out(self) -> None:
        """Leave files that the attempt wrote where they are, reachable by its fence."""
        try:
            if os.stat(self.out).st_ctime_ns == self.out_changed:
                return
            os.rmdir(self.out)
        except FileNotFoundError:
            pass
        except OSError:  # it holds files
            try:
                folder, name = os.path.split(self.out)
                os.symlink(name, os.path.join(folder, self.given["ROTA_FENCE"]))
            except OSError:
                pass  # only the short name is missing
        self.out = ""

    def _called(self, request: dict[str, Any]) -> Any:
        name = request["function"]
        function = self.functions.get(name)
        if function is None:
            function = self.functions[name] = Function(find(name, self.folder))
            self._remember_files()
        arguments = request["arguments"]
        if function.wants_run and "run" not in arguments:
            arguments["run"] = Run(request["env"], request["params"], self.out)
        value = function.call(**arguments)
        if function.is_async or inspect.iscoroutine(value):
            value = asyncio.run(value)
        return value

    def _kept(self, value: Any) -> dict[str, Any]:
        """The result as far as it can be kept."""
        if value is None:
            return {}
        try:
            text = json.dumps(value, allow_nan=False, ensure_ascii=False).encode()  # of what no text may hold, too
        except (TypeError, ValueError, RecursionError) as error:
            print(f"rota: the returned value is not kept, as it is not JSON: {error}", file=sys.stderr)
            return {}
        if len(text) > RESULT_LIMIT:
            print(f"rota: the returned value is not kept: {len(text)} bytes, limit {RESULT_LIMIT}", file=sys.stderr)
            return {}
        return {"result": value}

    def _exited(self, error: SystemExit) -> dict[str, Any]:
        code = error.code
        if code is None or code == 0:
            return {"exit": 0}
        if not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
        return {"exit": code & 0xFF, "failure": "exit", "error": f"sys.exit({code})"}

    def _in_one_line(self, error: BaseException) -> str:
        try:
            text = str(error)
        except Exception:  # a broken __str__ must not end the process
            text = "(its message cannot be shown)"
        line = _plain(type(error).__name__ + (": " + text if text else ""))
        return line if len(line) <= 2000 else line[:2000] + "…"

    def _print_traceback(self, error: BaseException) -> None:
        """The traceback without our own frames."""
        frames = error.__traceback__
        while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
            frames = frames.tb_next
        try:
            traceback.print_exception(type(error), error, frames, file=sys.stderr)
        except Exception:  # a broken __str__ must not end the process
            print(type(error).__name__, file=sys.stderr)

    # ── what an attempt leaves behind ────────────────────────────────────────────────────────────────────

    def _flush(self) -> None:
        for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
            try:
                if stream is not None:
                    stream.flush()
            except Exception:  # closed or replaced by the function: then there is nothing to flush
                pass

    def _unread(self, descriptor: int) -> int:
        """Bytes in the pipe that the agent has not read."""
        try:
            fcntl.ioctl(descriptor, termios.FIONREAD, self.unread)
        except OSError:
            return 0
        return self.unread[0]

    def _has_children(self) -> bool:
        """Whether processes of the attempt may be left."""
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return True

    # ── code that changes ────────────────────────────────────────────────────────────────────────────────

    def _remember_files(self) -> None:
        for module in list(sys.modules.values()):
            file = getattr(module, "__file__", None)
            if file and file.startswith(self.folder + os.sep) and file not in self.files:
                self.files[file] = changed_at(file)

    def _code_has_changed(self) -> bool:
        now = time.monotonic()
        if now - self.looked < _LOOK_AT_FILES:
            return False
        self._remember_files()
        self.looked = now
        return any(changed_at(file) != known for file, known in self.files.items())


def _plain(text: str) -> str:
    """The text with what JSON may not hold written out: names of files need not be text."""
    return text.encode("utf-8", "backslashreplace").decode()


def changed_at(file: str) -> int:
    try:
        return os.stat(file).st_mtime_ns
    except OSError:
        return 0


def find(name: str, folder: str) -> Callable[..., Any]:
    """The function `package.module:name`, or NotFound with the nearest name."""
    module_name, _, path = name.partition(":")
    importlib.invalidate_caches()
    try:
        value = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name == error.name or module_name.startswith(error.name + ".")):
            raise
        raise NotFound(
            f"there is no module {error.name} for {sys.executable} (looked in {folder} and its own packages); "
            "set `cwd:`, `venv:` or `interpreter:`"
        ) from None
    for part in path.split("."):
        if not hasattr(value, part):
            near = difflib.get_close_matches(part, [one for one in vars(value) if not one.startswith("_")], 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise NotFound(f"module {module_name} has no function {path}{hint}")
        value = getattr(value, part)
    if not callable(value):
        raise NotFound(f"{name} is not a function")
    function: Callable[..., Any] = value
    return function


def main() -> None:
    folder = os.getcwd()
    sys.path[0] = folder
    outs = sys.argv[1]
    sys.argv = [""]
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(  # type: ignore[union-attr]
            line_buffering=True, errors="backslashreplace"
        )
    Runner(folder, outs).serve()


if __name__ == "__main__":
    main()

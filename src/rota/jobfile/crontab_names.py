"""A name for a job, made from its command: `cd /srv && nice -n 10 /opt/bin/fetch.sh -q` → fetch."""

import re
import shlex
from collections.abc import Container
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from rota.jobfile.names import safe_name

LONGEST: Final = 60


class _Wrapper(NamedTuple):
    """A program that only starts another one: its own plain words, and its options that take a value."""

    plain: int = 0
    options: str = ""


_WRAPPERS: Final = {
    **dict.fromkeys(("nohup", "exec", "time", "setsid", "command", "chronic", "cronic", "eatmydata"), _Wrapper()),
    "nice": _Wrapper(options="-n"),
    "ionice": _Wrapper(options="-c -n -p"),
    "sudo": _Wrapper(options="-u -g -C -p -h -T"),
    "env": _Wrapper(options="-u -C -S"),
    "timeout": _Wrapper(1, "-k -s"),
    "flock": _Wrapper(1, "-w -E"),
    "setlock": _Wrapper(1),
    "chrt": _Wrapper(1, "-p"),
    "taskset": _Wrapper(1, "-p"),
}
_INTERPRETERS: Final = re.compile(r"(?:ba|da|z|k|a)?sh|python[0-9.]*|perl|php[0-9.]*|ruby|node|java|Rscript")
_NO_JOBS: Final = frozenset(
    {
        "cd", "test", "[", "[[", ".", "source", "export", "umask", "sleep", "ulimit", "set", ":", "if", "then", "else",
        "fi", "for", "while", "do", "done", "true", "false",
    }
)  # fmt: skip
_SIGNS: Final = frozenset("();<>|&")
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_FETCHERS: Final = frozenset({"curl", "wget", "http", "https"})
_SUFFIX: Final = re.compile(r"\.(?:sh|bash|py|pl|php|rb|js|jar|exe|cron|R|ksh|zsh)$")


def job_name(command: str, number: int, taken: Container[str]) -> str:
    """A readable name that is not taken yet."""
    base = _base(command[:4000])[:LONGEST].rstrip("-._") or f"line-{number}"
    name, count = base, 1
    while name in taken:
        count += 1
        name = f"{base}-{count}"
    return name


def _base(command: str) -> str:
    """The name of the first program that does something."""
    for part in _parts(command):
        words = _program(part)
        if words:
            return _name_of(words)
    return ""


def _parts(command: str) -> list[list[str]]:
    """The simple commands of a line, each as its words; what is in quotes stays one word."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    parts: list[list[str]] = [[]]
    try:
        for word in lexer:
            if set(word) <= _SIGNS or word in ("{", "}", "!"):
                parts.append([])
            else:
                parts[-1].append(word)
    except ValueError:
        return [command.replace("'", " ").replace('"', " ").split()]
    return parts


def _program(words: list[str]) -> list[str]:
    """The words from the program's name on, without what only wraps it."""
    while words:
        first = words[0].rpartition("/")[2]
        if _ASSIGNMENT.fullmatch(words[0]):
            words = words[1:]
        elif first in _NO_JOBS:
            return []
        elif first in _WRAPPERS:
            words = _after_wrapper(words[1:], _WRAPPERS[first])
        else:
            return words
    return []


def _after_wrapper(words: list[str], wrapper: _Wrapper) -> list[str]:
    """What follows a wrapper's options and its own words."""
    index = 0
    while index < len(words) and words[index].startswith("-"):
        index += 2 if words[index] in wrapper.options.split() else 1
    return words[index + wrapper.plain :]


def _name_of(words: list[str]) -> str:
    program = words[0].rpartition("/")[2]
    rest = [word for word in words[1:] if not word.startswith("-")]
    if program in _FETCHERS:
        hosts = [urlsplit(word).hostname or "" for word in rest if re.match(r"https?://[\w.]", word)]
        return safe_name(f"{program} {hosts[0]}" if hosts else program)
    if program == "run-parts" and rest:
        return safe_name(rest[-1].rstrip(") /").rpartition("/")[2])
    if _INTERPRETERS.fullmatch(program):
        return safe_name(_script(program, words[1:]))
    return safe_name(_SUFFIX.sub("", program)) or safe_name(program)


def _script(program: str, words: list[str]) -> str:
    """What an interpreter runs: its script or module, and the script's first word when that is a command."""
    if "-m" in words[:-1]:
        return words[words.index("-m") + 1]
    if "-c" in words[:-1]:
        return _base(words[words.index("-c") + 1]) or program
    scripts = [word for word in words if not word.startswith("-")]
    if not scripts:
        return program
    name = _SUFFIX.sub("", scripts[0].rpartition("/")[2])
    if name in ("artisan", "manage", "console", "run", "drush", "wp") and len(scripts) > 1:
        return f"{name} {scripts[1]}"
    return name or program

"""A name for a job, made from its command: `cd /srv && nice -n 10 /opt/bin/fetch.sh -q` → fetch."""

import re
import shlex
from collections.abc import Container
from typing import Final
from urllib.parse import urlsplit

from rota.jobfile.names import safe_name

LONGEST: Final = 60

# Words that only start another program, with the number of plain words that follow their options.
_WRAPPERS: Final = {
    "nice": 0, "ionice": 0, "sudo": 0, "env": 0, "nohup": 0, "exec": 0, "time": 0, "setsid": 0, "command": 0,
    "chronic": 0, "timeout": 1, "flock": 1, "chrt": 1, "taskset": 1, "setlock": 1, "cronic": 0, "eatmydata": 0,
}  # fmt: skip
_OPTIONS_WITH_VALUE: Final = frozenset({"-n", "-c", "-u", "-g", "-p", "-k", "-s", "-w", "-E", "-C", "-m"})
_INTERPRETERS: Final = re.compile(r"(?:ba|da|z|k|a)?sh|python[0-9.]*|perl|php[0-9.]*|ruby|node|java|Rscript")
_NO_JOBS: Final = frozenset(
    {
        "cd", "test", "[", "[[", ".", "source", "export", "umask", "sleep", "ulimit", "set", ":", "if", "then", "else",
        "fi", "for", "while", "do", "done", "true", "false",
    }
)  # fmt: skip
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
    for part in re.split(r"&&|\|\||[;|&\n]", command):
        words = _program(_words(part))
        if words:
            return _name_of(words)
    return ""


def _words(part: str) -> list[str]:
    part = part.strip().lstrip("({! ")
    try:
        return shlex.split(part)
    except ValueError:
        return part.replace("'", " ").replace('"', " ").split()


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


def _after_wrapper(words: list[str], plain: int) -> list[str]:
    """What follows a wrapper's options and its `plain` own words."""
    index = 0
    while index < len(words) and words[index].startswith("-"):
        index += 2 if words[index] in _OPTIONS_WITH_VALUE else 1
    return words[index + plain :]


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

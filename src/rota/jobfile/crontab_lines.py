"""The lines of a crontab, read as cron reads them; nothing is judged here but the form.

Vixie cron's rules: a line is a setting when it has the form NAME = value, else a job; `#` only begins a comment at the
start of a line; the first `%` of a command that has no backslash ends it and begins its standard input.
"""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

LONGEST_LINE: Final = 64 * 1024
MOST_LINES: Final = 100_000

_SETTING: Final = re.compile(r"""("[^"]*"|'[^']*'|[A-Za-z_][^\s=]*)[ \t]*=[ \t]*(.*)""", re.DOTALL)
_FIVE: Final = re.compile(r"(\S+[ \t]+\S+[ \t]+\S+[ \t]+\S+[ \t]+\S+)(?:[ \t]+(.*))?", re.DOTALL)
_NICKNAME: Final = re.compile(r"(@\S+)(?:[ \t]+(.*))?", re.DOTALL)
_NICKNAMES: Final = "reboot|yearly|annually|monthly|weekly|daily|midnight|hourly"
_OFF: Final = re.compile(rf"#+\s*(?:(?:[-*0-9][\S]*\s+){{4}}\S+|@(?:{_NICKNAMES}))\s+\S")
_USER_NAME: Final = re.compile(r"[a-z_][a-z0-9_-]*\$?", re.ASCII)
_SYSTEM_HEADER: Final = re.compile(r"#\s*m\s+h\s+dom\s+mon\s+dow\s+user\b", re.IGNORECASE)
_SYSTEM_USERS: Final = frozenset(
    {"root", "www-data", "nobody", "daemon", "postgres", "mysql", "backup", "mail", "news", "list", "nginx", "apache"}
)


class Blank(msgspec.Struct, frozen=True):
    """A line without content."""

    number: int


class Comment(msgspec.Struct, frozen=True):
    """A comment; `is_job` when it is a job that was switched off."""

    number: int
    text: str
    is_job: bool


class Setting(msgspec.Struct, frozen=True):
    """NAME = value, quotes already taken off."""

    number: int
    name: str
    value: str


class Entry(msgspec.Struct, frozen=True):
    """A job: when, as whom (system crontabs), and what behind it, still with its `%`."""

    number: int
    when: str
    rest: str
    quiet: bool = False  # a leading "-": not logged by cron


class Bad(msgspec.Struct, frozen=True):
    """A line that cron could not use either, and why."""

    number: int
    text: str
    reason: str


Line = Blank | Comment | Setting | Entry | Bad


def split_lines(data: bytes) -> tuple[list[bytes], list[str]]:
    """The lines of a crontab without their ends, and what is odd about the ends."""
    odd: list[str] = []
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
        odd.append("the file begins with a byte order mark, which cron does not understand; it was left out")
    if data and not data.endswith(b"\n"):
        odd.append("the last line has no line end: cron ignores such a line; it was imported")
    lines = data.split(b"\n")
    if lines and not lines[-1]:
        lines.pop()
    if any(line.endswith(b"\r") for line in lines):
        odd.append("the lines end with CR LF: cron hands the CR to the command; it was left out")
        lines = [line.removesuffix(b"\r") for line in lines]
    return lines, odd


def read_lines(lines: list[bytes]) -> Iterator[Line]:
    """Each line as what it is."""
    for number, raw in enumerate(lines, 1):
        if len(raw) > LONGEST_LINE:
            yield Bad(number, _shown(raw[:60]) + "…", f"the line is longer than {LONGEST_LINE // 1024} KiB")
            continue
        stripped = raw.lstrip(b" \t")
        if not stripped.strip():
            yield Blank(number)
        elif stripped.startswith(b"#"):
            text = stripped.decode("utf-8", "replace").rstrip()
            yield Comment(number, text, bool(_OFF.match(text)))
        else:
            yield _content(number, stripped)


def _content(number: int, raw: bytes) -> Line:
    """A setting or a job."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return Bad(number, _shown(raw), f"byte 0x{raw[error.start]:02x} is not UTF-8")
    if "\0" in text:
        return Bad(number, _shown(raw), "the line holds a NUL character")
    setting = _SETTING.fullmatch(text)
    if setting is not None:
        return Setting(number, _unquoted(setting[1]), _unquoted(setting[2].rstrip(" \t")))
    quiet = text.startswith("-")
    match = (_NICKNAME if text.startswith("@") else _FIVE).fullmatch(text[quiet:])
    if match is None:
        count = len(text.split())
        return Bad(number, text, f"a job has five time fields and a command; this line has {count} words")
    if not (match[2] or "").strip():
        return Bad(number, text, "there is no command")
    return Entry(number, re.sub(r"[ \t]+", " ", match[1]), match[2], quiet)


def _unquoted(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    return text


def _shown(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace").replace("\0", "\\0")


def split_command(rest: str) -> tuple[str, str | None]:
    """Command and standard input, as cron's `%` divides them."""
    command: list[str] = []
    escaped = False
    for index, char in enumerate(rest):
        if escaped:
            if char == "%":
                command.pop()
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == "%":
            return "".join(command), _stdin(rest[index + 1 :])
        command.append(char)
    return "".join(command), None


def _stdin(text: str) -> str:
    """`%` ends a line, `\\%` is a percent sign; the last line ends too."""
    data = re.sub(r"\\%|%", lambda match: "%" if len(match[0]) == 2 else "\n", text)
    return data if not data or data.endswith("\n") else data + "\n"


def is_system(file: str, lines: list[Line]) -> bool:
    """Whether the lines have a user column: by the file's place, its header, or the users themselves."""
    if file == "/etc/crontab" or file.startswith("/etc/cron.d/"):
        return True
    if "/crontabs/" in file or file.startswith("/var/spool/cron"):
        return False
    if any(isinstance(line, Comment) and _SYSTEM_HEADER.match(line.text) for line in lines):
        return True
    firsts = [line.rest.split(maxsplit=1) for line in lines if isinstance(line, Entry)]
    return bool(firsts) and all(len(words) == 2 and words[0] in _SYSTEM_USERS for words in firsts)


def split_user(rest: str) -> tuple[str, str] | None:
    """User and command of a line of a system crontab; None when there are not both."""
    words = rest.split(None, 1)
    if len(words) < 2 or not _USER_NAME.fullmatch(words[0]):
        return None
    return words[0], words[1]

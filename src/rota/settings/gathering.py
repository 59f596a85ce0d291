"""Gathering the values of some keys from file, environment and flags; the later wins. All problems in one pass.

Values are never shown when their key may hold a secret.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rota.core.errors import Invalid
from rota.settings.channels import read_channel
from rota.settings.keys import OTHER_VARIABLES, Key
from rota.settings.problems import SettingsProblem, unknown
from rota.settings.values import MailSettings

CONFIG_NAME: Final = "rota.toml"
_FILE_LIMIT: Final = 1024 * 1024
# Flags that are not called as their key is.
_FLAGS: Final = {"labels": "--label", "resources": "--resource", "tls.certificate": "--tls-certificate"}


class Gathered:
    """Values of some keys found so far, by dotted name, where each came from, and what was wrong on the way."""

    def __init__(self, keys: Sequence[Key], *, has_channels: bool = False) -> None:
        self._keys = {key.name: key for key in keys}
        self._has_channels = has_channels
        self.values: dict[str, Any] = {}
        self.places: dict[str, str] = {}
        self.channels: dict[str, MailSettings] = {}
        self.problems: list[SettingsProblem] = []

    def file(self, path: Path, *, must_exist: bool, environment: Mapping[str, str]) -> None:
        """Take what the file says."""
        document, lines = self._parse(path, must_exist=must_exist)
        channels = document.pop("channels", {}) if self._has_channels else {}
        for name, value in _flat(document, self._keys):
            where = f"{path}:{lines.get(name, 1)}"
            key = self._keys.get(name)
            if key is None:
                names = [*self._keys, *(["channels"] if self._has_channels else [])]
                self.problems.append(unknown(where, f'unknown key "{name}"', name, names))
            else:
                self.take(key, value, where)
        if not isinstance(channels, dict):
            self.problems.append(
                SettingsProblem(where=f"{path}", message="channels is not a table", hint="write [channels.mail]")
            )
            return

        def place(dotted: str) -> str:
            """Where a key stands; one that is not found, where its table does."""
            return f"{path}:{lines.get(dotted, lines.get(dotted.rpartition('.')[0], 1))}"

        for name, table in channels.items():
            channel, wrong = read_channel(name, table, place, environment)
            self.problems += wrong
            if channel is not None:
                self.channels[name] = channel

    def environment(self, environment: Mapping[str, str]) -> None:
        """Take the ROTA_ variables that are not empty; one that is nearly the name of a known one is a mistake."""
        known = {key.variable: key for key in self._keys.values()}
        for variable in sorted(name for name, text in environment.items() if name.startswith("ROTA_") and text):
            if variable in known:
                self.take(known[variable], environment[variable], variable)
            elif variable not in OTHER_VARIABLES and difflib.get_close_matches(variable, known, n=1, cutoff=0.85):
                self.problems.append(unknown(variable, "unknown variable", variable, known))

    def flags(self, flags: Mapping[str, Any]) -> None:
        """Take what the command line says, by dotted name; what was not given is None."""
        for name, value in flags.items():
            if value is not None:
                self.take(self._keys[name], value, _FLAGS.get(name, f"--{name.replace('_', '-').replace('.', '-')}"))

    def place(self, name: str) -> str:
        """Where a value came from; the key itself for one that was not given."""
        return self.places.get(name, name)

    def problem(self, name: str, message: str, hint: str = "") -> None:
        """Something is wrong with a value together with others."""
        self.problems.append(SettingsProblem(where=self.place(name), message=message, hint=hint))

    def below(self, prefix: str) -> dict[str, Any]:
        """The values whose names begin so, without it."""
        return {name.removeprefix(prefix): value for name, value in self.values.items() if name.startswith(prefix)}

    def take(self, key: Key, value: Any, where: str) -> None:
        """Read one value."""
        self.places[key.name] = where  # also of one that is wrong: it was given
        try:
            self.values[key.name] = key.read(value)
        except Invalid as error:
            self.problems.append(
                SettingsProblem(where=where, message=f"{key.name}: {error.detail}", hint=error.hint or "")
            )

    def _parse(self, path: Path, *, must_exist: bool) -> tuple[dict[str, Any], dict[str, int]]:
        """The document and the line of each dotted key."""
        try:
            with path.open("rb") as file:
                text = file.read(_FILE_LIMIT + 1).decode("utf-8")
        except FileNotFoundError:
            if must_exist:
                self.problems.append(SettingsProblem(where=str(path), message="there is no such file"))
            return {}, {}
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            self.problems.append(SettingsProblem(where=str(path), message=f"cannot be read: {why}"))
            return {}, {}
        try:
            if len(text) > _FILE_LIMIT:
                raise tomllib.TOMLDecodeError("it is longer than 1 MiB (at line 1, column 1)")
            return tomllib.loads(text), key_lines(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            found = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
            where = f"{path}:{found[1]}:{found[2]}" if found else str(path)
            message = str(error).partition(" (at ")[0] or "it is nested too deeply"
            self.problems.append(SettingsProblem(where=where, message=f"not TOML: {message}"))
            return {}, {}


def key_lines(text: str) -> dict[str, int]:
    """The line of each key of a TOML text by its dotted name; good enough for messages, not a parser."""
    lines: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[\[?\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?$", line)
        found = re.match(r"""\s*([A-Za-z0-9_."'\- ]+?)\s*=""", line)
        if header:
            table = _plain(header[1])
            lines.setdefault(table, number)
        elif found:
            name = _plain(found[1])
            lines.setdefault(f"{table}.{name}" if table else name, number)
    return lines


def _plain(name: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in name.split("."))


def _flat(document: Mapping[str, Any], known: Mapping[str, Key], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Dotted names and values; a table that is itself the value of a key stays whole."""
    for name, value in document.items():
        dotted = f"{prefix}{name}"
        is_group = any(key.startswith(f"{dotted}.") for key in known)
        if isinstance(value, dict) and dotted not in known and is_group:
            yield from _flat(value, known, f"{dotted}.")
        else:
            yield dotted, value

"""Reading the settings: the file, then the environment, then flags; the later wins. All problems in one pass.

Values are never shown when their key may hold a secret.
"""

import difflib
import ipaddress
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from rota.core.errors import Invalid, RotaError
from rota.core.model import Value
from rota.settings.keys import CHANNEL_KEYS, UP_KEYS, Key, Wrong
from rota.settings.values import DEFAULT_DATA, MailSettings, SecretText, UpSettings, WorkerOptions, host_zone

CONFIG_NAME: Final = "rota.toml"
_FILE_LIMIT: Final = 1024 * 1024
_FILE_ONLY: Final = frozenset({"worker.labels", "worker.slots"})
# Variables of the same family that other parts read.
_OTHER_VARIABLES: Final = frozenset({"ROTA_DATA", "ROTA_CONFIG", "ROTA_URL", "ROTA_TOKEN", "ROTA_SECRET_KEY"})


class SettingsProblem(Value):
    """One thing that is wrong with the settings; `where` is `file:line`, a variable or a flag."""

    where: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" + (f"\n  = {self.hint}" if self.hint else "")


class SettingsRefused(RotaError):
    """The settings are wrong; nothing was started."""

    code = "SETTINGS"

    def __init__(self, problems: Iterable[SettingsProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def load_settings(
    *,
    environment: Mapping[str, str],
    flags: Mapping[str, Any] | None = None,
    data: Path | None = None,
    config: Path | None = None,
) -> UpSettings:
    """The settings of `rota up`. `flags` are by dotted name, those not given None; raises SettingsRefused."""
    folder = data or Path(environment.get("ROTA_DATA") or DEFAULT_DATA)
    asked = config or (Path(environment["ROTA_CONFIG"]) if environment.get("ROTA_CONFIG") else None)
    gathered = _Gathered()
    gathered.file(asked or folder / CONFIG_NAME, must_exist=asked is not None, environment=environment)
    gathered.environment(environment)
    gathered.flags(flags or {})
    gathered.check_together()
    if gathered.problems:
        raise SettingsRefused(gathered.problems)
    return _settings(folder, gathered)


class _Gathered:
    """Values found so far, by dotted name, and what was wrong on the way."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.places: dict[str, str] = {}
        self.channels: dict[str, MailSettings] = {}
        self.problems: list[SettingsProblem] = []

    def file(self, path: Path, *, must_exist: bool, environment: Mapping[str, str]) -> None:
        """Take what the file says."""
        document, lines = self._parse(path, must_exist=must_exist)
        channels = document.pop("channels", {})
        known = {key.name: key for key in UP_KEYS}
        for name, value in _flat(document, known):
            where = f"{path}:{lines.get(name, 1)}"
            key = known.get(name)
            if key is None:
                self.unknown(where, f'unknown key "{name}"', name, [*known, "channels"])
            else:
                self.take(key, value, where)
        if not isinstance(channels, dict):
            self.problems.append(
                SettingsProblem(where=f"{path}", message="channels is not a table", hint="write [channels.mail]")
            )
            return
        for name, table in channels.items():
            self._channel(name, table, path, lines, environment)

    def environment(self, environment: Mapping[str, str]) -> None:
        """Take the ROTA_ variables; one that is nearly the name of a known one is a mistake."""
        known = {key.variable: key for key in UP_KEYS if key.name not in _FILE_ONLY}
        for variable in sorted(name for name in environment if name.startswith("ROTA_")):
            if variable in known:
                self.take(known[variable], environment[variable], variable)
            elif variable not in _OTHER_VARIABLES and difflib.get_close_matches(variable, known, n=1, cutoff=0.85):
                self.unknown(variable, "unknown variable", variable, known)

    def flags(self, flags: Mapping[str, Any]) -> None:
        """Take what the command line says."""
        known = {key.name: key for key in UP_KEYS}
        for name, value in flags.items():
            if value is not None:
                self.take(known[name], value, f"--{name.replace('_', '-').replace('.', '-')}")

    def check_together(self) -> None:
        """What is wrong only together."""
        host = self.values.get("host", "127.0.0.1")
        if not _is_loopback(host) and not self.values.get("tls_ends_at_proxy", False):
            hint = (
                "put a proxy that speaks TLS in front and set tls_ends_at_proxy = true,"
                " or keep host 127.0.0.1 and reach it through ssh -L"
            )
            message = f'host "{host}" would serve tokens and logs to the network without TLS'
            self.problems.append(SettingsProblem(where=self.places.get("host", "host"), message=message, hint=hint))

    def take(self, key: Key, value: Any, where: str) -> None:
        """Read one value."""
        try:
            self.values[key.name] = key.read(value)
            self.places[key.name] = where
        except Invalid as error:
            self.problems.append(
                SettingsProblem(where=where, message=f"{key.name}: {error.detail}", hint=error.hint or "")
            )

    def unknown(self, where: str, message: str, name: str, known: Iterable[str]) -> None:
        """An unknown key, with the nearest known one."""
        names = list(known)
        close = difflib.get_close_matches(name.replace("-", "_"), names, n=1, cutoff=0.6)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(names)}"
        self.problems.append(SettingsProblem(where=where, message=message, hint=hint))

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

    def _channel(
        self, name: str, table: Any, path: Path, lines: Mapping[str, int], environment: Mapping[str, str]
    ) -> None:
        """One table [channels.NAME]."""
        prefix = f"channels.{name}"
        where = f"{path}:{lines.get(prefix, 1)}"
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,31}", name, re.ASCII):
            hint = "use small letters, digits and dash: [channels.mail]"
            self.problems.append(
                SettingsProblem(where=where, message=f'"{name[:40]}" is not a channel name', hint=hint)
            )
            return
        if not isinstance(table, dict):
            hint = f'write [channels.{name}] and below it type = "mail"'
            self.problems.append(SettingsProblem(where=where, message=f"{prefix} is not a table", hint=hint))
            return
        before = len(self.problems)
        known = {key.name: key for key in CHANNEL_KEYS}
        values: dict[str, Any] = {}
        for key, value in table.items():
            place = f"{path}:{lines.get(f'{prefix}.{key}', lines.get(prefix, 1))}"
            if key not in known:
                self.unknown(place, f'unknown key "{key}" in [{prefix}]', key, known)
                continue
            try:
                values[key] = known[key].read(value)
            except Invalid as error:
                detail = "it is not a text" if key == "password" else error.detail
                self.problems.append(
                    SettingsProblem(where=place, message=f"{prefix}.{key}: {detail}", hint=error.hint or "")
                )
        if "type" not in values and len(self.problems) == before:
            hint = 'write type = "mail"'
            self.problems.append(SettingsProblem(where=where, message=f"[{prefix}] says no type", hint=hint))
        if len(self.problems) == before:
            self._mail(name, values, where, environment)

    def _mail(self, name: str, values: dict[str, Any], where: str, environment: Mapping[str, str]) -> None:
        """The settings of a mail channel from its values."""
        values.pop("type")
        try:
            password = _password(values, environment)
        except Wrong as error:
            self.problems.append(
                SettingsProblem(where=where, message=f"channels.{name}: {error.detail}", hint=error.hint or "")
            )
            return
        self.channels[name] = MailSettings(**values, password=password)


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


def _password(values: dict[str, Any], environment: Mapping[str, str]) -> SecretText | None:
    """The password, from wherever it is said to be."""
    given = [name for name in ("password", "password_env", "password_file") if name in values]
    if len(given) > 1:
        raise Wrong(f"{' and '.join(given)} are both given", hint="keep one of them")
    direct, variable, file = (values.pop(name, None) for name in ("password", "password_env", "password_file"))
    if given and not values.get("user"):
        raise Wrong(f"{given[0]} is given without user")
    if variable is not None:
        if not environment.get(variable):
            raise Wrong(f"the environment variable {variable} is not set", hint=f"{variable}=… rota up")
        return SecretText(environment[variable])
    if file is not None:
        try:
            return SecretText(file.read_text(encoding="utf-8").strip("\r\n"))
        except (OSError, UnicodeDecodeError) as error:
            raise Wrong(f"password_file {file} cannot be read: {getattr(error, 'strerror', 'not text')}") from error
    return SecretText(direct) if direct is not None else None


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _settings(data: Path, gathered: _Gathered) -> UpSettings:
    """The frozen settings from what was gathered."""
    values = {name: value for name, value in gathered.values.items() if not name.startswith("worker.")}
    worker = {name.removeprefix("worker."): value for name, value in gathered.values.items() if name not in values}
    values = {name.replace(".", "_"): value for name, value in values.items()}
    values.setdefault("timezone", host_zone())
    return UpSettings(
        data=data,
        port_was_asked_for="port" in values,
        channels=gathered.channels,
        worker=WorkerOptions(**worker),
        **values,
    )

"""Tables [channels.NAME]: where messages go. They come from the file only, because several values belong together."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from rota.core.errors import Invalid
from rota.settings.keys import CHANNEL_KEYS
from rota.settings.problems import SettingsProblem, unknown
from rota.settings.readers import Wrong
from rota.settings.values import MailSettings, SecretText

Place = Callable[[str], str]
"""Where a dotted key stands, as file:line."""


def read_channel(
    name: str, table: Any, place: Place, environment: Mapping[str, str]
) -> tuple[MailSettings | None, list[SettingsProblem]]:
    """The channel of one table, or what is wrong with it."""
    prefix = f"channels.{name}"
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,31}", name, re.ASCII):
        hint = "use small letters, digits and dash: [channels.mail]"
        return None, [SettingsProblem(where=place(prefix), message=f'"{name[:40]}" is not a channel name', hint=hint)]
    if not isinstance(table, dict):
        hint = f'write [channels.{name}] and below it type = "mail"'
        return None, [SettingsProblem(where=place(prefix), message=f"{prefix} is not a table", hint=hint)]
    values, problems = _values(prefix, table, place)
    if problems:
        return None, problems
    if "type" not in values:
        hint = 'write type = "mail"'
        return None, [SettingsProblem(where=place(prefix), message=f"[{prefix}] says no type", hint=hint)]
    values.pop("type")
    try:
        password = _password(values, environment)
    except Wrong as error:
        return None, [SettingsProblem(where=place(prefix), message=f"{prefix}: {error.detail}", hint=error.hint or "")]
    return MailSettings(**values, password=password), []


def _values(prefix: str, table: Mapping[str, Any], place: Place) -> tuple[dict[str, Any], list[SettingsProblem]]:
    """The values of a table by key."""
    known = {key.name: key for key in CHANNEL_KEYS}
    values: dict[str, Any] = {}
    problems: list[SettingsProblem] = []
    for key, value in table.items():
        where = place(f"{prefix}.{key}")
        if key not in known:
            problems.append(unknown(where, f'unknown key "{key}" in [{prefix}]', key, known))
            continue
        try:
            values[key] = known[key].read(value)
        except Invalid as error:
            detail = "it is not a text" if key == "password" else error.detail
            problems.append(SettingsProblem(where=where, message=f"{prefix}.{key}: {detail}", hint=error.hint or ""))
    return values, problems


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

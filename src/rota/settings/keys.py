"""The keys of the settings, by role: name, how a value is read, where else it may come from."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from rota.settings import readers as read
from rota.settings.database import database_url


class Key(NamedTuple):
    """One setting: dotted name in the file, reader of its value; the environment name follows from the name."""

    name: str
    read: Callable[[Any], Any]

    @property
    def variable(self) -> str:
        """The environment variable of the same meaning."""
        return "ROTA_" + self.name.upper().replace(".", "_")


def _keys(*pairs: tuple[str, Callable[[Any], Any]]) -> tuple[Key, ...]:
    return tuple(Key(*pair) for pair in pairs)


LOG_KEYS: Final = _keys(
    ("log.format", read.choice("text", "json")),
    ("log.level", read.choice("debug", "info", "warning", "error")),
)
"""Of every process that writes a log."""

WEB_KEYS: Final = _keys(
    ("host", read.text),
    ("port", read.port),
    ("public_url", read.url),
    ("allowed_hosts", read.texts),
    ("tls.certificate", read.existing),
    ("tls.key", read.existing),
    ("tls_ends_at_proxy", read.flag),
    ("trusted_proxies", read.networks),
    ("timezone", read.timezone),
    ("keep.history", read.age),
    ("keep.logs", read.age),
    ("limits.token_requests", read.positive),
    ("limits.token_burst", read.positive),
    ("limits.address_requests", read.positive),
    ("limits.address_burst", read.positive),
    ("limits.failed_logins", read.positive),
    ("limits.streams", read.positive),
    ("limits.connections", read.positive),
)
"""Of every process that serves the API and decides."""

WORK_KEYS: Final = _keys(
    ("name", read.name),
    ("labels", read.labels),
    ("slots", read.slots),
    ("allowed_users", read.texts),
    ("private_networks", read.flag),
    ("allowed_networks", read.networks),
)
"""Of every worker; inside `rota up` they begin with `worker.`."""

UP_KEYS: Final = (
    *WEB_KEYS,
    *LOG_KEYS,
    *_keys(("jobs", read.paths), ("open_browser", read.flag)),
    *(Key(f"worker.{key.name}", key.read) for key in WORK_KEYS),
)
"""Of `rota up`. Channels come from the file only."""

SERVER_KEYS: Final = (
    *WEB_KEYS,
    *LOG_KEYS,
    *_keys(("database", database_url), ("advertise", read.url), ("secret_key_file", read.existing)),
)
"""Of `rota server`. Channels come from the file only."""

WORKER_KEYS: Final = (
    *WORK_KEYS,
    *LOG_KEYS,
    *_keys(
        ("server", read.urls),
        ("ca", read.existing),
        ("plain_http", read.flag),
        ("cpu", read.cpus),
        ("memory", read.size),
        ("resources", read.resources),
        ("grace", read.grace),
    ),
)
"""Of `rota worker`."""

CHANNEL_KEYS: Final = _keys(
    ("type", read.choice("mail")),
    ("sender", read.optional_text),
    ("host", read.optional_text),
    ("port", read.port),
    ("tls", read.choice("auto", "tls", "starttls", "none")),
    ("user", read.optional_text),
    ("password", read.text),
    ("password_env", read.text),
    ("password_file", read.path),
    ("sendmail", read.path),
    ("timeout", read.seconds),
)
"""Keys of a table [channels.NAME]."""

OTHER_VARIABLES: Final = frozenset(
    {"ROTA_DATA", "ROTA_CONFIG", "ROTA_URL", "ROTA_TOKEN", "ROTA_SECRET_KEY", "ROTA_STATE"}
    | {
        "ROTA_JOIN_TOKEN",
        "ROTA_JOIN_TOKEN_FILE",
        "ROTA_TOKEN_DATABASE",
        "ROTA_MOVE_FROM",
        "ROTA_MOVE_TO",
        "ROTA_DOCTOR_DATABASE",
    }
    | {key.variable for role in (UP_KEYS, SERVER_KEYS, WORKER_KEYS) for key in role}
)
"""Variables of the same family that another part reads: no role takes one of them for a mistake."""

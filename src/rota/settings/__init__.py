"""Settings: frozen values, and reading them from file, environment and flags."""

from rota.settings.database import DatabaseUrl, find_database
from rota.settings.problems import SettingsProblem, SettingsRefused
from rota.settings.sources import Sources, load_server_settings, load_up_settings, load_worker_settings
from rota.settings.values import (
    LimitOptions,
    MailSettings,
    SecretText,
    ServerSettings,
    UpSettings,
    WebOptions,
    WorkerOptions,
    WorkerProcessSettings,
    host_name,
    host_zone,
    worker_name,
)

__all__ = [
    "DatabaseUrl",
    "LimitOptions",
    "MailSettings",
    "SecretText",
    "ServerSettings",
    "SettingsProblem",
    "SettingsRefused",
    "Sources",
    "UpSettings",
    "WebOptions",
    "WorkerOptions",
    "WorkerProcessSettings",
    "find_database",
    "host_name",
    "host_zone",
    "load_server_settings",
    "load_up_settings",
    "load_worker_settings",
    "worker_name",
]

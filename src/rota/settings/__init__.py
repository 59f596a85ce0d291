"""Settings: frozen values, and reading them from file, environment and flags."""

from rota.settings.sources import SettingsProblem, SettingsRefused, load_settings
from rota.settings.values import MailSettings, SecretText, UpSettings, WorkerOptions, host_name, host_zone

__all__ = [
    "MailSettings",
    "SecretText",
    "SettingsProblem",
    "SettingsRefused",
    "UpSettings",
    "WorkerOptions",
    "host_name",
    "host_zone",
    "load_settings",
]

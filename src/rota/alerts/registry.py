"""The channels that the settings define, by name."""

from collections.abc import Mapping

from rota.alerts.channel import AlertChannel
from rota.alerts.mail import MailChannel
from rota.settings import MailSettings


def make_channels(settings: Mapping[str, MailSettings]) -> dict[str, AlertChannel]:
    """One channel per name. `mail` is always there: without settings it uses what the machine has."""
    channels: dict[str, AlertChannel] = {"mail": MailChannel(MailSettings())}
    channels |= {name: MailChannel(mail) for name, mail in settings.items()}
    return channels

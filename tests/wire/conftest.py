"""Channels over sockets are tried on both event loops."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import uvloop

Factories = Mapping[str, Callable[[], asyncio.AbstractEventLoop]]


def pytest_asyncio_loop_factories(config: pytest.Config, item: Any) -> Factories:
    """Servers and workers run on uvloop; tests elsewhere on asyncio's own loop."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}

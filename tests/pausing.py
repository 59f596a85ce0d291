"""The one place where tests of the network let real time pass."""

import asyncio


async def pause(seconds: float) -> None:
    """Let so much time pass on the wire."""
    await asyncio.sleep(seconds)

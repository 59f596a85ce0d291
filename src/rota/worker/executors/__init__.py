"""The executors of a worker, one per kind of task, and the keeper that most of them lean on."""

from rota.clock import Clock
from rota.worker.executor import Executor
from rota.worker.executors.http import HttpExecutor
from rota.worker.executors.python import PythonExecutor
from rota.worker.executors.shell import ShellExecutor
from rota.worker.folders import Folders
from rota.worker.keeper_link import KeeperLink
from rota.worker.pipes import Gate
from rota.worker.settings import WorkerSettings


class Executors:
    """All executors, by the kind of task."""

    def __init__(self, link: KeeperLink, of: dict[str, Executor]) -> None:
        self.link = link
        self.of = of

    def live_until(self, moment: float) -> None:
        """End all processes at this moment (boot-time seconds) unless told of a later one."""
        self.link.live_until(moment)

    async def close(self) -> None:
        """End everything; when it returns no process is left."""
        for executor in self.of.values():
            await executor.close()
        await self.link.stop()


async def make_executors(settings: WorkerSettings, gate: Gate, clock: Clock) -> Executors:
    """Start the keeper and make the executors that `settings` gives a capacity."""
    link = KeeperLink(settings.state)
    await link.start()
    folders = Folders(settings)
    folders.prepare()
    return Executors(
        link,
        {
            "http": HttpExecutor(settings),
            "python": PythonExecutor(link, folders, gate, settings, clock),
            "shell": ShellExecutor(link, folders, gate, settings),
        },
    )

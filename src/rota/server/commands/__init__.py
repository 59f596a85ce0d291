"""What users may do: every command reads, lets core decide, commits by compare-and-set, and leaves an audit entry."""

from rota.server.commands.jobs import ApplyResult, JobCommands, PauseResult, WantedJob
from rota.server.commands.runs import RunCommands, TriggerRequest

__all__ = ["ApplyResult", "Commands", "JobCommands", "PauseResult", "RunCommands", "TriggerRequest", "WantedJob"]


class Commands(JobCommands, RunCommands):
    """All commands, on jobs and on runs."""

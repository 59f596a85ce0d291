"""What `rota doctor` finds, and how it is told."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from rota.cli import exits
from rota.cli.common import Show
from rota.cli.terminal import Screen, plain

CLOCK_SECONDS: Final = 2.0
_SIGNS: Final = {"ok": ("✓", "good"), "warning": ("!", "warn"), "problem": ("✕", "bad")}


class Finding(NamedTuple):
    """What was found: `level` is ok, warning or problem."""

    level: str
    subject: str
    words: str
    hint: str = ""


def tell(findings: Sequence[Finding], show: Show) -> int:
    """Say what was found; returns the exit code."""
    screen = show.screen()
    problems = sum(finding.level == "problem" for finding in findings)
    if show.is_data:
        show.emit(screen, {"items": [finding._asdict() for finding in findings], "problems": problems})
        return exits.DOCTOR if problems else exits.SUCCESS
    for finding in findings:
        _tell(finding, screen)
    warnings = sum(finding.level == "warning" for finding in findings)
    if problems or warnings:
        screen.line(f"{problems} problem{'s' * (problems != 1)}, {warnings} warning{'s' * (warnings != 1)}")
    else:
        screen.line("all is well")
    return exits.DOCTOR if problems else exits.SUCCESS


def clock_finding(offset: float, whose: str) -> Finding:
    """How far a clock is away from this machine's."""
    if abs(offset) > CLOCK_SECONDS:
        words = f"the {whose}'s clock is {abs(offset):.1f} s away from this machine's"
        return Finding("problem", "clock", words, "look at the time service of both machines")
    return Finding("ok", "clock", f"offset {abs(offset) * 1000:.0f} ms to the {whose}")


def _tell(finding: Finding, screen: Screen) -> None:
    sign, style = _SIGNS[finding.level]
    screen.line(f"{screen.painted(sign, style)} {finding.subject:<9} {plain(finding.words)}")
    if finding.hint:
        screen.line(f"            = {plain(finding.hint)}")

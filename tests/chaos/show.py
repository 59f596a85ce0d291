"""What a person sees of a life: one line for each thing that happens, and the table at the end."""

import os
import sys
import time

from tests.chaos.verdict import Verdict, table

_BOLD, _RED, _GREEN, _FAINT, _PLAIN = "\033[1m", "\033[31m", "\033[32m", "\033[2m", "\033[0m"
_LEGEND = """\
expected  instants that an oracle of its own finds in the schedules
created   of these, have exactly one run         in gaps  lie in a gap row (a pause is answered by one)
missed    have neither: must be 0                doubled  were run twice without need: must be 0
lost      were acknowledged and are gone, or never ended: must be 0
again     runs that were tried again because their worker or server died
latest    from an instant to the first start of its run, at most"""


class Show:
    """Prints as it happens."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._left_out: dict[str, None] = {}
        self._colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def title(self, text: str) -> None:
        """A heading."""
        print(f"\n{self._in(_BOLD, text)}\n", flush=True)

    def done(self, text: str) -> None:
        """Something is as it should be."""
        self._line(self._in(_GREEN, "✓"), text)

    def harm(self, text: str) -> None:
        """Something is done to the cluster."""
        self._line(self._in(_RED, "✗"), self._in(_BOLD, text))

    def note(self, text: str) -> None:
        """A remark."""
        self._line(" ", self._in(_FAINT, text))

    def left_out(self, name: str, reason: str) -> None:
        """A harm that this machine does not allow; the end says so again."""
        words = f"{name} is left out on this machine: {reason}"
        self.note(words)
        self._left_out[words] = None

    def verdict(self, verdict: Verdict, calls: int) -> None:
        """The table, what it means, and whether all is well."""
        print()
        for line in table(verdict.tallies, verdict.total):
            print(f"  {line}")
        print("\n" + "\n".join(self._in(_FAINT, f"  {line}") for line in _LEGEND.splitlines()) + "\n")
        states = ", ".join(f"{count} {state}" for state, count in verdict.states.most_common())
        print(f"  {sum(verdict.states.values())} runs: {states}; {calls} calls acknowledged")
        if verdict.states["lost"]:
            print(f"  {verdict.states['lost']} at-most-once runs are called lost: to start them again might be twice")
        if verdict.forgotten:
            print(f"  {verdict.forgotten} acknowledged triggers are gone with the databases that went back: allowed")
        for words in self._left_out:
            print(f"  {words}")
        if verdict.violations:
            print(self._in(_RED, f"\n  ✗ {len(verdict.violations)} violations\n"))
            print(verdict.story(), flush=True)
        else:
            words = "every instant answered once, nothing acknowledged lost, nothing ran beside itself"
            print(self._in(_GREEN, f"\n  ✓ no violation: {words}\n"), flush=True)

    def _line(self, sign: str, text: str) -> None:
        print(f"  {time.monotonic() - self._began:4.0f} s  {sign} {text}", flush=True)

    def _in(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._colours else text

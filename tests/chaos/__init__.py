"""Real processes on one machine, harmed in every way it allows, and judged by the history checker.

`python -m tests.chaos` is a session of its own; `python -m tests.chaos.demo` is the one to look at.
"""

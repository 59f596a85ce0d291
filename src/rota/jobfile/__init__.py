"""Job files: text → model and back, with messages that name line and column.

`check_paths` reads files and folders, `parse_text` one text, `parse_spec` one job of the API.
"""

from rota.jobfile.check import CheckResult, check_paths
from rota.jobfile.parse import FileResult, ParsedJob, parse_bytes, parse_spec, parse_text
from rota.jobfile.problems import JobFileError, Problem, render

__all__ = [
    "CheckResult",
    "FileResult",
    "JobFileError",
    "ParsedJob",
    "Problem",
    "check_paths",
    "parse_bytes",
    "parse_spec",
    "parse_text",
    "render",
]

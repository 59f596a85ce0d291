"""Writes the reference pages that are made from tables: docs/reference/job-file.md and errors.md.

Run it after a change of a key or a code; a test compares the pages with the tables.
"""

from pathlib import Path

from rota.jobfile.reference import errors_page, job_file_page

FOLDER = Path(__file__).parent.parent / "docs" / "reference"


def main() -> None:
    """Write both pages."""
    (FOLDER / "job-file.md").write_text(job_file_page())
    (FOLDER / "errors.md").write_text(errors_page())


if __name__ == "__main__":
    main()

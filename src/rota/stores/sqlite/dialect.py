"""What SQLite writes its own way in queries of people."""

from typing import Final

from rota.stores.filters import Dialect
from rota.stores.sqlite.parameters import ids_json


def _glob(pattern: str) -> str:
    """A pattern that knows `*` only, for GLOB, which knows more."""
    return pattern.replace("[", "[[]").replace("?", "[?]")


SQLITE: Final = Dialect(
    among="{} IN (SELECT value FROM json_each(?))",
    pack=ids_json,
    like="{} GLOB ?",
    pattern=_glob,
    contains="contains({}, ?)",
    job_text="contains(job.full_name, ?) OR contains(job.title, ?) OR contains(job.schedule, ?)",
    labelled="EXISTS (SELECT 1 FROM json_each({}) WHERE key = ? AND value = ?)",
    namespace_of="substr({0}, 1, instr({0}, '/') - 1)",
    seconds="?",
    holds=lambda text: True,
)

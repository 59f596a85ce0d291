"""The job a new, empty installation starts with, so that there is something to see within the first minute."""

from pathlib import Path
from typing import Final

HELLO: Final = """\
# The first job. Change it and save: the change applies by itself.
# All keys: rota new NAME writes a commented example; rota check FILE tells what is wrong.
version: 1
namespace: demo
jobs:
  hello:
    title: Says hello every minute
    schedule: every minute
    timeout: 50s
    shell: |
      printf '\\033[32mHello!\\033[0m This line came from worker %s.\\n' "$ROTA_WORKER"
      echo "Run $ROTA_RUN_ID of $ROTA_JOB, due $ROTA_DUE, attempt $ROTA_ATTEMPT."
      for step in 1 2 3 4 5 6 7 8 9 10; do
        sleep 1
        printf 'step %2d of 10  ' "$step"
        printf '#%.0s' $(seq "$step")
        echo
      done
      printf '\\033[1mDone.\\033[0m Change this file and save it to see the next revision run.\\n'
"""


def write_hello(folder: Path) -> Path:
    """Put the job file into `folder`; an existing one is left as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "hello.yaml"
    if not target.exists():
        target.write_text(HELLO)
    return target

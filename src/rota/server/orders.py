"""Orders for workers: everything an attempt needs, made from its run and the run's own revision of the job."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from rota.core.errors import RotaError
from rota.core.model import Delivery, HttpTask, JobSpec, Run
from rota.wire.messages import AttemptOrder

_SECRET_IN_TEXT: Final = re.compile(r"\$\{secret\.([A-Za-z0-9_.-]+)\}")


class MissingSecret(RotaError):
    """A job asks for a secret that does not exist."""

    code = "MISSING_SECRET"


def secret_names(spec: JobSpec) -> set[str]:
    """The secrets a job uses: those of `secrets:` and those named in its http texts."""
    return {*spec.secrets.values(), *_names_in_texts(spec)}


def make_order(run: Run, spec: JobSpec, values: Mapping[str, str]) -> AttemptOrder:
    """The order for the run's current attempt; raises MissingSecret when `values` lacks one."""
    missing = sorted(secret_names(spec) - values.keys())
    if missing:
        name = missing[0]
        raise MissingSecret(f"the secret {name} does not exist", hint=f"rota secret set {name}")
    secrets = {variable: values[name] for variable, name in spec.secrets.items()}
    secrets |= {name: values[name] for name in _names_in_texts(spec)}
    return AttemptOrder(
        run_id=run.id,
        job=run.job,
        due=run.due,
        attempt=run.attempt,
        fence=run.fence,
        task=spec.task,
        timezone=spec.timezone,
        timeout=spec.timeout,
        kill_grace=spec.kill_grace,
        env=spec.env,
        secrets=secrets,
        params=run.params,
        cwd=spec.cwd,
        user=spec.user,
        interpreter=spec.interpreter,
        venv=spec.venv,
        log_limit=spec.log_limit,
        permit=spec.delivery is Delivery.AT_MOST_ONCE,
        not_before=run.due if run.current and run.current.created < run.due else None,
        continue_for=run.current.continue_for if run.current else 0.0,
    )


def _names_in_texts(spec: JobSpec) -> Iterable[str]:
    """Names of `${secret.…}` in an http task."""
    if not isinstance(spec.task, HttpTask):
        return ()
    texts = [spec.task.url, spec.task.body or "", *spec.task.headers.values()]
    return [name for text in texts for name in _SECRET_IN_TEXT.findall(text)]

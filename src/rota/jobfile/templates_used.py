"""Checks the `${…}` values of an http job: only known names, only where they are filled."""

from collections.abc import Collection
from typing import Final

from rota.core.template import FIXED_NAMES, BadTemplate, names
from rota.jobfile.document import Scalar
from rota.jobfile.names import PARAM_NAME, SECRET_NAME
from rota.jobfile.problems import nearest
from rota.jobfile.reading import Reading

_FORMS: Final = f"known here: {', '.join(FIXED_NAMES)}, params.NAME, secret.NAME"


def check_template(reading: Reading, node: Scalar, params: Collection[str]) -> None:
    """Note every `${…}` in `node` that no run could fill."""
    try:
        for name, position in names(node.text):
            problem, label = _problem(name, params)
            if problem:
                reading.wrong_inside("E0210", problem, node, position, len(name) + 3, label)
    except BadTemplate as error:
        reading.wrong_inside("E0210", error.detail, node, error.position, 2, error.hint or "")


def _problem(name: str, params: Collection[str]) -> tuple[str, str]:
    if name in FIXED_NAMES:
        return "", ""
    family, _, rest = name.partition(".")
    if family == "params":
        return _param_problem(name, rest, params)
    if family == "secret":
        return (
            ("", "") if SECRET_NAME.fullmatch(rest) else (f"${{{name}}} does not name a secret", "write ${secret.NAME}")
        )
    if family == "secrets" and rest:
        return f"there is no value ${{{name}}}", f"did you mean ${{secret.{rest}}}?"
    if family == "param" and rest:
        return f"there is no value ${{{name}}}", f"did you mean ${{params.{rest}}}?"
    guess = nearest(name, FIXED_NAMES)
    shown = name if len(name) <= 40 else name[:37] + "…"
    return f"there is no value ${{{shown}}}", f"did you mean ${{{guess}}}?" if guess else _FORMS


def _param_problem(name: str, rest: str, params: Collection[str]) -> tuple[str, str]:
    if rest in params:
        return "", ""
    guess = nearest(rest, params)
    if guess:
        return f"${{{name}}} is not declared", f"did you mean ${{params.{guess}}}?"
    example = rest if PARAM_NAME.fullmatch(rest) else "day"
    return f"${{{name}}} is not declared", f'declare it: params: {{ {example}: "default value" }}'

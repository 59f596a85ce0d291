"""Templates: one environment with everything escaped, and the helpers that templates may use."""

from typing import Any, Final

import jinja2
from starlette.responses import HTMLResponse

from rota.core.model import Condition, Value
from rota.core.small_lists import ranges
from rota.core.zones import zone_info
from rota.jobfile.yaml_out import yaml_lines
from rota.server.access import Session
from rota.server.api.services import ApiServices
from rota.server.ui import figures, timeline, words

_ENVIRONMENT: Final = jinja2.Environment(
    loader=jinja2.PackageLoader("rota.server.ui", "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)
_ENVIRONMENT.globals.update(
    state_status=words.state_status,
    job_status=words.job_status,
    duration=words.duration,
    size=words.size,
    strip=figures.strip,
    strip_summary=figures.strip_summary,
    glyphs=words.GLYPHS,
    process_status=words.process_status,
    milliseconds=words.milliseconds,
    offset=words.offset,
    ranges=ranges,
    pieces=timeline.pieces,
    named_by=timeline.named_by,
    counted=words.counted,
)


class Visit(Value):
    """Somebody signed in who looks at a page.

    `position` is where the live hints stood when the page was made, `conditions` what was wrong with the installation.
    """

    session: Session
    position: str
    conditions: tuple[Condition, ...] = ()


def page(services: ApiServices, template: str, visit: Visit | None, status: int = 200, **values: Any) -> HTMLResponse:
    """One page."""
    now = services.clock.now()
    zone = zone_info(services.settings.timezone)

    def when(text: str) -> str:
        return words.absolute(text, zone)

    def when_in(text: str, timezone: str) -> str:
        return words.absolute(text, zone_info(timezone))

    def clock(text: str) -> str:
        return words.short_clock(text, zone, now)

    def ago(text: str) -> str:
        return words.relative(text, now)

    values.setdefault("topics", "")
    content = _ENVIRONMENT.get_template(template).render(
        session=visit.session if visit else None,
        position=visit.position if visit else "",
        conditions=visit.conditions if visit else (),
        version=services.settings.version,
        now=now,
        zone_name=services.settings.timezone,
        when=when,
        when_in=when_in,
        clock=clock,
        ago=ago,
        **values,
    )
    return HTMLResponse(content, status)


def as_yaml(values: dict[str, Any]) -> str:
    """A definition as it would stand in a job file."""
    return "\n".join(yaml_lines(values)) + "\n"

"""Every state a person can meet has a glyph of its own."""

from rota.core.glyphs import CONDITION_GLYPHS, STATE_GLYPHS
from rota.core.model import AttemptState, RunState


def test_every_state_of_runs_and_attempts_has_a_glyph() -> None:
    assert {state.value for state in (*RunState, *AttemptState)} == set(STATE_GLYPHS)


def test_no_two_run_states_look_alike() -> None:
    glyphs = [STATE_GLYPHS[state.value] for state in RunState]
    assert len(set(glyphs)) == len(glyphs)
    assert all(len(glyph) == 1 for glyph in (*glyphs, *CONDITION_GLYPHS.values()))

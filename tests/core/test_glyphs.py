"""Every state a person can meet has a glyph of its own."""

from rota.core.glyphs import CONDITION_GLYPHS, PROCESS_GLYPHS, STATE_GLYPHS
from rota.core.model import AttemptState, RunState

# Latin, punctuation, arrows, mathematical operators, geometric shapes, symbols and dingbats: what common fonts draw. In
# the blocks behind them, as Miscellaneous Mathematical Symbols-B, most have nothing but an empty box.
COMMON_BLOCKS = (range(0xFF + 1), range(0x2000, 0x2070), range(0x2190, 0x2300), range(0x25A0, 0x27C0))


def test_every_state_of_runs_and_attempts_has_a_glyph() -> None:
    assert {state.value for state in (*RunState, *AttemptState)} == set(STATE_GLYPHS)


def test_no_two_run_states_look_alike() -> None:
    glyphs = [STATE_GLYPHS[state.value] for state in RunState]
    assert len(set(glyphs)) == len(glyphs)
    assert all(len(glyph) == 1 for glyph in (*glyphs, *CONDITION_GLYPHS.values()))


def test_every_glyph_is_one_that_common_fonts_have() -> None:
    glyphs = {*STATE_GLYPHS.values(), *PROCESS_GLYPHS.values(), *CONDITION_GLYPHS.values()}
    assert [glyph for glyph in glyphs if not any(ord(glyph) in block for block in COMMON_BLOCKS)] == []

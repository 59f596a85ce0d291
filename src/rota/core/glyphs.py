"""One glyph per state and condition: shown with the word wherever a person looks, on pages and in terminals alike."""

from typing import Final

STATE_GLYPHS: Final = {
    "queued": "◷",
    "starting": "▷",
    "running": "▶",
    "succeeded": "✓",
    "failed": "✕",
    "timed-out": "⇥",
    "cancelled": "⊘",
    "skipped": "↷",
    "missed": "∅",
    "lost": "⚡",
    "rejected": "⊗",
}

PROCESS_GLYPHS: Final = {
    "up": "●",
    "draining": "◐",
    "lost": "⚡",
    "gone": "○",
}

CONDITION_GLYPHS: Final = {
    "paused": "‖",
    "failing": "✕",
    "late": "◔",
    "broken": "!",
    "new": "·",
    "shadow": "◌",
}

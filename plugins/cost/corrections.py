"""Prices that a vendor's page has and genai-prices has not, or has otherwise.

Each stands beside what the package says: as soon as that is something else, the package counts.
Read on 2026-11-28, against release 0.2.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

# By provider and model, as the package names them: for a key of its, what it says (None where it
# says nothing) and what the page does, in dollars for a million tokens.
CORRECTIONS: Final[Mapping[tuple[str, str], Mapping[str, tuple[str | None, str]]]] = {
    # https://developers.openai.com/api/docs/models/gpt-4o-transcribe; LiteLLM's file has the same.
    # The package kept what the page said until the spring of 2026.
    ("openai", "gpt-4o-transcribe"): {"input_audio_mtok": ("6", "2.5")},
    # https://developers.openai.com/api/docs/models/gpt-4o-mini-transcribe
    ("openai", "gpt-4o-mini-transcribe"): {"input_audio_mtok": ("3", "1.25")},
    # https://developers.openai.com/api/docs/models/gpt-4o-audio-preview: without these a sound
    # would cost a sixteenth of what it does.
    ("openai", "gpt-4o-audio-preview"): {
        "input_audio_mtok": (None, "40"),
        "output_audio_mtok": (None, "80"),
    },
    # https://developers.openai.com/api/docs/pricing, as of 2025
    ("openai", "gpt-4o-mini-audio-preview"): {
        "input_audio_mtok": (None, "10"),
        "output_audio_mtok": (None, "20"),
    },
}


def corrected(provider: str, model: str, sheet: Mapping[str, Any]) -> dict[str, Any]:
    """The sheet, with the page's price of each key that still says what it did."""
    known = CORRECTIONS.get((provider, model), {})
    better = {key: new for key, (old, new) in known.items() if sheet.get(key) == old}
    return {**sheet, **better}

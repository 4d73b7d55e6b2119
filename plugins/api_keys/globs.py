"""Names as rules write them: "gpt-5*", where a star stands for anything."""

from __future__ import annotations

import fnmatch
import re
from functools import lru_cache
from typing import Final

# Lists of patterns are few: keys are made from templates, and teams have one each.
_KEPT_MAX: Final = 4096

Globs = re.Pattern[str]


@lru_cache(_KEPT_MAX)
def compiled(patterns: tuple[str, ...], *, any_case: bool = False) -> Globs:
    """What matches a name that one of the patterns fits."""
    text = "|".join(fnmatch.translate(pattern) for pattern in patterns)
    return re.compile(text, re.IGNORECASE if any_case else 0)

"""What a request makes or reads that is no token: pictures, characters, sound."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

# Tokens of a picture by its quality, of the largest size (OpenAI's guide to image generation, of
# gpt-image-1; those of dall-e-3 have none). Each partial one that is asked for is a hundred more.
_PICTURE_TOKENS: Final = {"low": 408, "medium": 1584, "high": 6240, "standard": 0, "hd": 0}
_PARTIAL_TOKENS: Final = 100
_PARTIALS_MAX: Final = 3
# What paths are for; Vertex' makes pictures that are never tokens.
PICTURES: Final = "pictures"
_SPEECH: Final = "speech"
_RANKING: Final = "ranking"
_ENDS: Final = {b"/audio/speech": _SPEECH, b":predict": "predictions", b"rerank": _RANKING}
# Sound of 32 kbit/s, as little as speech is sent with: 4 bytes are a millisecond.
_SOUND_BYTES_PER_MS: Final = 4
# A unit of search is a question to a hundred documents (Cohere's pricing).
_DOCUMENTS_PER_UNIT: Final = 100
# Of searches in the web, where a request allows them and does not say how many.
SEARCHES_DEFAULT: Final = 10
# Google's tools that search have no type, but a name.
_GOOGLES: Final = frozenset({"googleSearch", "google_search"})


@lru_cache(256)
def kind_of(path: bytes) -> str:
    """What a path is for, where that is priced by the piece; else nothing."""
    bare = path.partition(b"?")[0]
    if b"/images/" in bare:
        return PICTURES
    return next((kind for end, kind in _ENDS.items() if bare.endswith(end)), "")


def units_of(kind: str, document: dict[str, Any], answers: int) -> dict[str, int] | None:
    """How many of each; None where there are none. answers: how many are asked for."""
    if not kind:
        if "tools" in document or "web_search_options" in document:
            searches = _searches(document)
            return {"web_searches": searches * answers} if searches else None
        return None
    if kind == _SPEECH:
        text = document.get("input")
        return {"input_characters": len(text)} if isinstance(text, str) else None
    if kind == _RANKING:
        documents = document.get("documents")
        count = len(documents) if isinstance(documents, list) else 1
        return {"search_units": max(-(-count // _DOCUMENTS_PER_UNIT), 1)}
    return {"images": answers}


def _searches(document: dict[str, Any]) -> int:
    if "web_search_options" in document:
        return SEARCHES_DEFAULT
    tools = document["tools"]
    found = 0
    for tool in tools if isinstance(tools, list) else ():
        kind = tool.get("type") if isinstance(tool, dict) else None
        if isinstance(kind, str) and kind.startswith("web_search"):
            most = tool.get("max_uses")
            found += most if type(most) is int and most > 0 else SEARCHES_DEFAULT
        elif isinstance(tool, dict) and not tool.keys().isdisjoint(_GOOGLES):
            found += SEARCHES_DEFAULT
    return found


def picture_tokens(document: dict[str, Any]) -> int:
    """The most tokens of one picture, where it is made of tokens."""
    tokens = _PICTURE_TOKENS.get(str(document.get("quality")), _PICTURE_TOKENS["high"])
    partial = document.get("partial_images")
    if type(partial) is int and partial > 0:
        tokens += min(partial, _PARTIALS_MAX) * _PARTIAL_TOKENS
    return tokens


def sound_ms(size: int) -> int:
    """How long a sound of so many bytes may be."""
    return size // _SOUND_BYTES_PER_MS

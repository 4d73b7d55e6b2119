"""Who a provider is in other people's tables, and what else a model may be called there."""

from __future__ import annotations

import re
from typing import Final

# Servers of one's own: they cost what the configuration says, or nobody knows.
LOCAL: Final = frozenset({"ollama", "vllm", "mock"})
# The built-in providers whose prices tables know.
PROVIDERS: Final = (
    "openai",
    "anthropic",
    "google-ai-studio",
    "google-vertex-ai",
    "aws-bedrock",
    "azure-openai",
    "workers-ai",
    "groq",
    "mistral",
    "cohere",
    "perplexity-ai",
    "deepseek",
    "grok",
    "cerebras",
    "openrouter",
    "baseten",
    "replicate",
    "fal",
    "elevenlabs",
    "deepgram",
)
# Our name: that of genai-prices, where it is another.
GENAI: Final = {
    "google-ai-studio": "google",
    "google-vertex-ai": "google",
    "aws-bedrock": "aws",
    "azure-openai": "azure",
    "workers-ai": "cloudflare",
    "perplexity-ai": "perplexity",
    "grok": "x-ai",
}
# Our name: what stands before a model's name in LiteLLM's table, and whose rows without such a
# prefix are meant too.
LITELLM: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "openai": (("openai/",), ("openai", "text-completion-openai")),
    "anthropic": (("anthropic/",), ("anthropic",)),
    "google-ai-studio": (("gemini/",), ("gemini",)),
    "google-vertex-ai": (("vertex_ai/",), ("vertex_ai",)),
    "aws-bedrock": (("bedrock/",), ("bedrock",)),
    "azure-openai": (("azure/", "azure_ai/"), ("azure",)),
    "workers-ai": (("cloudflare/",), ("cloudflare",)),
    "cohere": (("cohere/", "cohere_chat/"), ("cohere",)),
    "perplexity-ai": (("perplexity/",), ("perplexity",)),
    "grok": (("xai/",), ("xai",)),
    "fal": (("fal_ai/",), ("fal_ai",)),
}
# Cohere bills its `billed_units`; what it took from its cache stands beside them and costs nothing
# (https://docs.cohere.com/v2/docs/how-does-cohere-pricing-work, 2026-11).
FREE_CACHE: Final = frozenset({"cohere"})
# A sound of Groq's is billed as 10 seconds where it is shorter
# (https://console.groq.com/docs/speech-to-text, 2026-11).
AUDIO_MS_MIN: Final = {"groq": 10_000}
# Dearer hours that are those of working days, as genai-prices writes them, which knows no days of
# the week: minutes in UTC. Which days are holidays in China is not known here either: then the
# dearer price counts (https://api-docs.deepseek.com/quick_start/pricing, 2026-11).
WORKDAY_PEAKS: Final = {"deepseek": ((60, 240), (360, 600))}

_PATH: Final = re.compile(r"^(?:.*[/:])?(?:models|foundation-model|inference-profile)/")
_REGION: Final = re.compile(r"^(?:us-gov|us|eu|apac|au|jp|ca|global)\.(?=[a-z0-9]+\.)")
# A whole date, which names a state of a model; four digits alone may name another model.
_DATED: Final = re.compile(
    r"(?:[-@](?:20\d{2}-?\d{2}-?\d{2}|\d{2}-20\d{2}|00\d|latest|default))(?:-v\d+(?::\d+)?)?$"
)
_TUNED: Final = re.compile(r"^(ft:[^:]+):.*$")


def short(model: str) -> str:
    """A model's name without the path that leads to it: `models/NAME`, an ARN."""
    return _PATH.sub("", model.lower())


def variants(model: str) -> tuple[str, ...]:
    """The names that a table may have a model under, the most exact first: without Bedrock's
    region, without the owner of a tuned model, without its date.
    """
    names = [short(model)]
    for pattern, kept in ((_TUNED, r"\1"), (_REGION, ""), (_DATED, "")):
        names += [pattern.sub(kept, name) for name in names]
    return tuple(dict.fromkeys(names))

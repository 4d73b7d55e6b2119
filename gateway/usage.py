"""What an attempt used: the record of it, and guesses where nobody says.

`gateway.counts` reads it from answers.
"""

from __future__ import annotations

from typing import Final

from gateway.dialects.loose import has


class Usage:
    """What one attempt used. Counts and facts are None until somebody says them.

    fresh_input, cache_read, cache_write: what the provider read, disjoint; their sum is its input.
    output_text, output_reasoning: what it wrote, disjoint; `output_text` is all but the reasoning.
    details: finer counts by name, each a part of one of the five (`cache_write_1h`, `input_audio`,
    `cache_read_audio`, `input_image`, `output_audio`, `output_image`) or a count of its own
    (`images`, `web_searches`, `search_units`, `input_audio_ms`, `input_characters`).
    tier: which price list it was served under, in the provider's words (`flex`, `priority`, ...).
    model, response_id, finish_reason: as the answer says them.
    estimated: the counters are our guess. problem: why the answer could not be read.
    reported: the counts are of an earlier request's answer, told again (a poll of a response, the
    results of a batch). `response_id` is the same in each report of it, so it is counted once.
    cost_nanousd: what it cost, in billionths of a dollar. prices: where that price is from.
    """

    __slots__ = (
        "cache_read",
        "cache_write",
        "cost_nanousd",
        "details",
        "estimated",
        "finish_reason",
        "fresh_input",
        "model",
        "output_reasoning",
        "output_text",
        "prices",
        "problem",
        "reported",
        "response_id",
        "tier",
    )

    def __init__(self) -> None:
        self.fresh_input: int | None = None
        self.cache_read: int | None = None
        self.cache_write: int | None = None
        self.output_text: int | None = None
        self.output_reasoning: int | None = None
        self.details: dict[str, int] | None = None
        self.tier: str | None = None
        self.model: str | None = None
        self.response_id: str | None = None
        self.finish_reason: str | None = None
        self.estimated = False
        self.problem: str | None = None
        self.reported = False
        self.cost_nanousd: int | None = None
        self.prices: str | None = None

    @property
    def input(self) -> int | None:
        """All that was read; None where nothing is known."""
        return total(self.fresh_input, self.cache_read, self.cache_write)

    @property
    def output(self) -> int | None:
        """All that was written; None where nothing is known."""
        return total(self.output_text, self.output_reasoning)

    @property
    def is_known(self) -> bool:
        """Whether there is any counter."""
        return (
            self.fresh_input is not None
            or self.output_text is not None
            or self.cache_read is not None
            or self.cache_write is not None
            or self.output_reasoning is not None
            or bool(self.details)
        )

    def add(self, other: Usage) -> None:
        """Count another attempt's in: sums of what is known, one guess makes the sum a guess."""
        self.fresh_input = total(self.fresh_input, other.fresh_input)
        self.cache_read = total(self.cache_read, other.cache_read)
        self.cache_write = total(self.cache_write, other.cache_write)
        self.output_text = total(self.output_text, other.output_text)
        self.output_reasoning = total(self.output_reasoning, other.output_reasoning)
        self.cost_nanousd = total(self.cost_nanousd, other.cost_nanousd)
        if other.details:
            details = self.details = dict(self.details or {})
            for name, count in other.details.items():
                details[name] = details.get(name, 0) + count
        self.estimated = self.estimated or other.estimated
        self.problem = self.problem or other.problem
        self.reported = self.reported or other.reported
        self.tier = other.tier or self.tier
        self.model = other.model or self.model
        self.response_id = other.response_id or self.response_id
        self.finish_reason = other.finish_reason or self.finish_reason
        self.prices = other.prices or self.prices


def total(*counts: int | None) -> int | None:
    """Sum what is known; None where nothing is."""
    found: int | None = None
    for count in counts:
        if count is not None:
            found = count if found is None else found + count
    return found


# What a token weighs in UTF-8 text, by and large, and what a picture or a minute of sound costs
# beside the many bytes that carry it.
BYTES_PER_TOKEN: Final = 4
_ENCODED_TOKENS: Final = 1000
# A string so long, and without a space so far, is no text.
_ENCODED_BYTES_MIN: Final = 1024


def estimate_input(body: bytes) -> int:
    """Guess how many tokens a request's body makes: for reservations, and where an attempt ends
    without its provider's own count.
    """
    size = len(body)
    pictures = 0
    if size >= _ENCODED_BYTES_MIN:
        for piece in body.split(b'"'):
            if len(piece) >= _ENCODED_BYTES_MIN:
                end = piece[-_ENCODED_BYTES_MIN:]
                if b" " not in end and b"\\" not in end and end.isascii():
                    size -= len(piece)
                    pictures += 1
    return size // BYTES_PER_TOKEN + 1 + pictures * _ENCODED_TOKENS


def may_tell(raw: bytes) -> bool:
    """Whether an event's bytes may hold counts or a finish reason, so that decoding it is worth
    while. Never False for one that does, unless it spells its members' names with escapes.

    Streams that were asked for usage say `"usage":null` and `"finish_reason":null` in every chunk.
    """
    if has(raw, b'"usage'):
        named = raw.count(b'"usage')
        if named != raw.count(b'"usage":null') and named != raw.count(b'"usage": null'):
            return True
    if has(raw, b'eason"'):
        named = raw.count(b'eason"')
        if named != raw.count(b'_reason":null') and named != raw.count(b'_reason": null'):
            return True
    # prompt_token_count, TokenCount, eval_count; a response in its last event; Cohere's.
    return has(raw, b'ount"') or has(raw, b'"response"') or has(raw, b"billed_units")

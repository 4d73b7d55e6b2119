from __future__ import annotations

from collections.abc import Callable

import orjson
import pytest

from gateway import Usage
from plugins.usage.later import Price, Results, is_report, results_of
from tests.gateway.answers import (
    CLAUDE_COUNTS,
    GEMINI_CHUNKS,
    GEMINI_COUNTS,
    OPENAI,
    OPENAI_COUNTS,
    WHOLES,
    counts_of,
)

CLAUDE = orjson.loads(next(case.body for case in WHOLES if case.name == "anthropic"))
CHAT = {"id": "chatcmpl-1", "object": "chat.completion", "model": "m", "usage": OPENAI_COUNTS}
LINES = {
    "openai": ({"custom_id": "a", "response": {"status_code": 200, "body": CHAT}}, OPENAI),
    "anthropic": (
        {"custom_id": "a", "result": {"type": "succeeded", "message": CLAUDE}},
        CLAUDE_COUNTS,
    ),
    "gemini": ({"key": "a", "response": GEMINI_CHUNKS[-1]}, GEMINI_COUNTS),
}
FAILED = {"custom_id": "b", "response": {"status_code": 400, "body": {"error": {"token": 1}}}}


def lines(*documents: object) -> bytes:
    return b"".join(orjson.dumps(document) + b"\n" for document in documents)


class Dear:
    """A price: a nano-dollar a token written, and double for long requests."""

    source = "table 1"

    def __init__(self, times: int) -> None:
        self.times = times

    def cost(self, usage: Usage) -> int | None:
        assert usage.tier == "batch"
        is_long = (usage.input or 0) > 200
        return None if usage.output is None else self.times * usage.output * (1 + is_long)


PRICES = {CHAT["model"]: Dear(1), "another": Dear(10)}


def results(
    body: bytes, step: int = 100, price: Callable[[str], Price | None] | None = None
) -> Usage:
    watcher = Results("batch-1", price)
    for at in range(0, len(body), step):
        watcher(body[at : at + step])
    watcher.end()
    return watcher.usage


@pytest.mark.parametrize("step", [1, 100, 100_000])
@pytest.mark.parametrize("whose", LINES)
def test_the_lines_of_a_batch_are_summed(whose, step):
    line, counts = LINES[whose]
    usage = results(lines(line, line, FAILED, line), step)

    assert counts_of(usage) == tuple(None if count is None else 3 * count for count in counts)
    assert (usage.response_id, usage.tier, usage.finish_reason) == ("batch-1", "batch", None)
    assert usage.problem is None


def test_a_last_line_without_an_end_counts():
    line, counts = LINES["openai"]

    assert counts_of(results(lines(line).rstrip())) == counts


def test_a_line_that_is_broken_is_said_and_the_others_count():
    line, counts = LINES["openai"]
    usage = results(lines(line) + b'{"tokens":NaN}\n' + lines(line))

    assert counts_of(usage) == tuple(None if count is None else 2 * count for count in counts)
    assert usage.problem is not None
    assert usage.problem.startswith("a line was not read")


def of(**more: object) -> dict[str, object]:
    return {"response": {"body": {**CHAT, **more}}}


def test_lines_of_two_models_are_said_and_stand_under_neither():
    usage = results(lines(of(), of(model="another"), of()))

    assert (usage.problem, usage.model) == ("lines of more than one model", None)


def test_each_line_is_priced_by_itself():
    """Many short answers are no long one."""
    usage = results(lines(of(), of(), FAILED, of()), price=PRICES.get)
    assert (usage.cost_nanousd, usage.prices, usage.model) == (3 * 70, "table 1", "m")

    usage = results(lines(of(), of(model="another")), price=PRICES.get)
    assert (usage.cost_nanousd, usage.model) == (70 + 700, None)


def test_where_one_line_has_no_price_the_cost_of_all_is_not_known():
    for line in (of(model="unknown"), of(usage={"prompt_tokens": 1}), of(model=None)):
        for body in (lines(of(), line), lines(line, of())):
            usage = results(body, price=PRICES.get)
            assert (usage.cost_nanousd, usage.model) == (None, None)

    usage = results(lines(of(model="unknown"), of(model="unknown")), price=PRICES.get)
    assert (usage.cost_nanousd, usage.model) == (None, "unknown")


def test_a_file_that_is_no_result_counts_nothing():
    asked = {"custom_id": "a", "method": "POST", "body": {"model": "m", "max_tokens": 5}}
    for body in (lines(asked), b"\x89PNG\r\n\x1a\n token \n", b"token\n\n{}\n"):
        assert not results(body).is_known


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"v1/messages/batches/msgbatch_1/results", "msgbatch_1"),
        (b"v1/messages/batches/msgbatch_1", None),
        (b"v1/files/file-1/content", "file-1"),
        (b"v1/files/file-1/content?x=1", "file-1"),
        (b"v1/files/file-1", None),
        (b"download/v1beta/files/f1:download?alt=media", "f1"),
        (b"v1/responses/resp_1", None),
    ],
)
def test_results_are_known_by_their_path(path, expected):
    assert results_of(path) == expected


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        (b"GET", b"v1/responses/resp_1", True),
        (b"POST", b"v1/responses/resp_1/cancel?a=1", True),
        (b"POST", b"v1/responses", False),
        (b"POST", b"v1/responses?from=resp_1", False),
        (b"DELETE", b"v1/responses/resp_1", True),
    ],
)
def test_a_report_is_known_by_method_and_path(method, path, expected):
    usage = Usage()
    usage.response_id = "resp_1"

    assert is_report(method, path, usage) is expected


def test_an_answer_without_an_id_is_no_report():
    assert not is_report(b"POST", b"v1/chat/completions", Usage())

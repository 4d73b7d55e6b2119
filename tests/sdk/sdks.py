"""Every official SDK behind one question, so that each story is told once and asked of all.

An SDK is used as its own manual says, with the base URL changed and its retries switched off. It
tells the pieces of text that it gave, when they came, and what it raised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from tests.sdk import chat_sdks, python_sdks
from tests.sdk.asked import PROMPT, SCHEMA, TOOL, Call, Fault, Got, Question, told, told_later
from tests.sdk.node import Node


class Sdk(NamedTuple):
    """An SDK, by one of the ways to use it.

    dialect: its wire format's family. ending: what its base URL has behind the provider's name.
    errors: the class to be raised for a status, 0 standing for all others. cut: the class for a
    connection that broke off, in a stream and in a whole answer. slug: the provider's name, where
    the dialect's family is not its own.
    """

    name: str
    registry: str
    way: str
    dialect: str
    ending: str
    errors: Mapping[int, str]
    cut: tuple[str, str]
    ask: Callable[[Question], Got]
    slug: str | None = None

    @property
    def provider(self) -> str:
        """Give the real provider that it is made for."""
        return self.slug or {"gemini": "google-ai-studio"}.get(self.dialect, self.dialect)

    @property
    def suits_the_mock(self) -> bool:
        """Whether the mock provider speaks its format: Cohere's it does not, nor at Groq's path."""
        return self.slug not in ("cohere", "groq")

    def alone(self, url: str) -> str:
        """Give its base URL for the scripted provider itself, with no gateway between."""
        named = self.slug in ("mistral", "cohere")
        return f"{url}/{self.slug}" if named else url + self.ending

    def base(self, url: str, provider: str | None = None) -> str:
        """Give its base URL for a provider, which is its own if none is named."""
        return f"{url}/{provider or self.provider}{self.ending}"

    def error(self, status: int) -> str:
        return self.errors.get(status, self.errors[0])


# -- the ones on Node ------------------------------------------------------------------------------


def _on_node(node: Node, way: str) -> Callable[[Question], Got]:
    def ask(question: Question) -> Got:
        tool = {"name": TOOL, "schema": SCHEMA}
        asked = question._asdict() | {"tool": tool if question.tools else None}
        heard = node.ask({"way": way, "prompt": PROMPT, **asked})
        got = Got()
        got.pieces, got.arrived_s = heard["pieces"], heard["arrivedS"]
        got.calls = [Call(call["name"], call["arguments"]) for call in heard["calls"]]
        if heard["fault"] is not None:
            kinds, status, text = (heard["fault"][key] for key in ("kinds", "status", "text"))
            got.fault = Fault(tuple(kinds), status, text)
        return got

    return ask


_NODE_OPENAI: Final = Node("openai.mjs")
_NODE_ANTHROPIC: Final = Node("anthropic.mjs")
_NODE_GOOGLE: Final = Node("google.mjs")
_NODE_AI: Final = Node("ai.mjs")
NODES: Final = (_NODE_OPENAI, _NODE_ANTHROPIC, _NODE_GOOGLE, _NODE_AI)

_OPENAI_ERRORS: Final = {
    400: "BadRequestError",
    401: "AuthenticationError",
    404: "NotFoundError",
    429: "RateLimitError",
    0: "InternalServerError",
}
_ANTHROPIC_ERRORS: Final = _OPENAI_ERRORS | {504: "GatewayTimeoutError"}
_GOOGLE_ERRORS: Final = dict.fromkeys((400, 401, 404, 429), "ClientError") | {0: "ServerError"}
_MISTRAL_ERRORS: Final = {0: "SDKError"}
_COHERE_ERRORS: Final = {
    400: "BadRequestError",
    401: "UnauthorizedError",
    404: "NotFoundError",
    429: "TooManyRequestsError",
    500: "InternalServerError",
    504: "GatewayTimeoutError",
    0: "ApiError",
}
_GENAI_ERRORS: Final = {0: "ApiError"}
_AI_ERRORS: Final = {0: "APICallError"}

_CONNECTION: Final = ("APIConnectionError", "APIConnectionError")
# These let what their HTTP client raises in mid-stream pass as it is.
_ANTHROPIC_CUT: Final = ("TransportError", "APIConnectionError")
_TRANSPORT: Final = ("TransportError", "TransportError")
_PAYLOAD: Final = ("ClientPayloadError", "ClientPayloadError")
_TERMINATED: Final = ("TypeError", "TypeError")
_CALL: Final = ("APICallError", "APICallError")

# fmt: off
SDKS: Final = (
    Sdk("openai", "PyPI", "chat", "openai", "/v1", _OPENAI_ERRORS, _CONNECTION,
        told(python_sdks.openai_chat)),
    Sdk("openai", "PyPI", "responses", "openai", "/v1", _OPENAI_ERRORS, _CONNECTION,
        told(python_sdks.openai_responses)),
    Sdk("openai", "PyPI", "async", "openai", "/v1", _OPENAI_ERRORS, _CONNECTION,
        told_later(python_sdks.openai_later)),
    Sdk("anthropic", "PyPI", "messages", "anthropic", "", _ANTHROPIC_ERRORS, _ANTHROPIC_CUT,
        told(python_sdks.anthropic_messages)),
    Sdk("anthropic", "PyPI", "async", "anthropic", "", _ANTHROPIC_ERRORS, _ANTHROPIC_CUT,
        told_later(python_sdks.anthropic_later)),
    Sdk("google-genai", "PyPI", "models", "gemini", "", _GOOGLE_ERRORS, _TRANSPORT,
        told(python_sdks.google)),
    Sdk("google-genai", "PyPI", "async", "gemini", "", _GOOGLE_ERRORS, _PAYLOAD,
        told_later(python_sdks.google_later)),
    Sdk("mistralai", "PyPI", "chat", "openai", "", _MISTRAL_ERRORS, _TRANSPORT,
        told(chat_sdks.mistral_chat), "mistral"),
    Sdk("cohere", "PyPI", "chat", "openai", "", _COHERE_ERRORS, _TRANSPORT,
        told(chat_sdks.cohere_chat), "cohere"),
    Sdk("groq", "PyPI", "chat", "openai", "", _OPENAI_ERRORS, _ANTHROPIC_CUT,
        told(chat_sdks.groq_chat), "groq"),
    Sdk("openai", "npm", "chat", "openai", "/v1", _OPENAI_ERRORS, _TERMINATED,
        _on_node(_NODE_OPENAI, "chat")),
    Sdk("openai", "npm", "responses", "openai", "/v1", _OPENAI_ERRORS, _TERMINATED,
        _on_node(_NODE_OPENAI, "responses")),
    Sdk("@anthropic-ai/sdk", "npm", "messages", "anthropic", "", _OPENAI_ERRORS,
        ("AnthropicError", "TypeError"), _on_node(_NODE_ANTHROPIC, "messages")),
    Sdk("@google/genai", "npm", "models", "gemini", "", _GENAI_ERRORS, _TERMINATED,
        _on_node(_NODE_GOOGLE, "models")),
    Sdk("ai", "npm", "chat", "openai", "/v1", _AI_ERRORS, _CALL,
        _on_node(_NODE_AI, "chat")),
    Sdk("ai", "npm", "responses", "openai", "/v1", _AI_ERRORS, _CALL,
        _on_node(_NODE_AI, "responses")),
    Sdk("ai", "npm", "anthropic", "anthropic", "/v1", _AI_ERRORS, _CALL,
        _on_node(_NODE_AI, "anthropic")),
    Sdk("ai", "npm", "google", "gemini", "/v1beta", _AI_ERRORS, _CALL,
        _on_node(_NODE_AI, "google")),
)
# fmt: on

"""The record that flows: one `Exchange` per request, passed to every hook and never copied.

Fields are grouped by the phase that sets them; a field of a later phase holds None until then.
Unknown stays None, never 0. Durations and instants are nanoseconds of the monotonic clock. A plugin
keeps private memory in `exchange.notes[NAME]`; a fact that two plugins need is a named field here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson

from gateway.clock import monotonic_ns
from gateway.dialects import dialect_of
from gateway.dialects.loose import read_json
from gateway.headers import Headers
from gateway.identity import Identity
from gateway.ids import uuid7
from gateway.shapes import Flat, Passed, paired
from gateway.usage import Usage

if TYPE_CHECKING:
    from gateway.dialects import Dialect
    from gateway.errors import GatewayError
    from gateway.origins import Origin
    from gateway.plan import Plan
    from gateway.providers import Provider
    from gateway.reply import Reply

# How an exchange can end. The words are the ledger's.
COMPLETE: Final = "complete"  # the answer ended as its framing (and its dialect's end marker) says
TRUNCATED: Final = "truncated"  # the upstream broke off; the caller can tell
PROVIDER_ERROR: Final = (
    "provider_error"  # the upstream answered with an error, or could not be reached
)
CLIENT_ABORT: Final = "client_abort"  # the caller left, or stopped reading
REFUSED: Final = "refused"  # we said no: bad input, no credential, a limit
CACHED: Final = "cached"  # answered by `lookup`
STOPPED: Final = (
    "stopped"  # ended by us in mid-answer: a budget, a guard, a revoked key, the end of the drain
)
FAILED: Final = "failed"  # our own fault


class Line(Protocol):
    """What a running line offers to its exchange (see `gateway.line`)."""

    def detach(self, bytes_max: int, seconds: float) -> None: ...
    def stop(self, outcome: str, tail: bytes) -> None: ...
    def gate(self, awaitable: Awaitable[Reply | None]) -> None: ...


class Target:
    """Where an attempt goes: a provider, one of its origins, and the path with query to ask for
    there. Exchanges share it, so nobody may change it.
    """

    __slots__ = ("origin", "path", "provider")

    def __init__(self, provider: Provider, origin: Origin, path: bytes) -> None:
        self.provider: Final = provider
        self.origin: Final = origin
        self.path: Final = path


class Attempt:
    """One try at an upstream. `send` hooks edit headers and body; the core sets the rest.

    headers: what will go up, hop-by-hop fields already gone; Host and framing are added on the
    wire. Made when first asked for.
    response: the fields of the answer, once there is one.
    body: bytes to send; None while the caller's body streams through.
    hold_first_event: set in `send`, makes the core wait for the first event (or
    `preview_bytes_max`) before `judge`.
    preview: those bytes.
    usage: what it used, known from `settle` on where a plugin reads it.
    deadlines: connect, first byte, idle, in nanoseconds; from the provider's row unless a hook
    changes them.
    """

    __slots__ = (
        "_response",
        "body",
        "came",
        "connect_timeout_ns",
        "connected_ns",
        "edited",
        "failure",
        "first_byte_ns",
        "first_byte_timeout_ns",
        "hold_first_event",
        "idle_timeout_ns",
        "number",
        "preview",
        "reused",
        "sent_ns",
        "started_ns",
        "status",
        "target",
        "usage",
    )

    def __init__(
        self, number: int, target: Target, came: Passed, body: bytes | None, started_ns: int
    ) -> None:
        provider = target.provider
        self.number = number
        self.target = target
        self.came = came  # the caller's fields that may go up
        self.edited: Headers | None = None  # the same once a hook has asked for `headers`
        self.body = body
        self.connect_timeout_ns: int = provider.connect_timeout
        self.first_byte_timeout_ns: int = provider.first_byte_timeout
        self.idle_timeout_ns: int = provider.idle_timeout
        self.hold_first_event = False
        self.preview: bytes | None = None
        self.started_ns = started_ns
        self.connected_ns: int | None = None
        self.sent_ns: int | None = None
        self.first_byte_ns: int | None = None
        self.reused = False
        self.status: int | None = None
        self._response: Passed | Headers | None = None
        self.failure: GatewayError | None = None
        self.usage: Usage | None = None

    @property
    def headers(self) -> Headers:
        if self.edited is None:
            self.edited = Headers.over(self.came)
        return self.edited

    @headers.setter
    def headers(self, headers: Headers) -> None:
        self.edited = headers

    def among(self, names: frozenset[bytes]) -> list[tuple[bytes, bytes]]:
        """The fields of `headers` with one of these names (lower case), found without making it.

        names: one of few sets, such as a provider's `caller_fields`, because it is remembered.
        """
        return (self.came if self.edited is None else self.edited).among(names)

    @property
    def response(self) -> Headers | None:
        if isinstance(self._response, Passed):
            self._response = Headers.over(self._response)
        return self._response

    def response_among(self, names: frozenset[bytes]) -> list[tuple[bytes, bytes]]:
        """The same of `response`; nothing before there is one."""
        response = self._response
        return [] if response is None else response.among(names)

    def answered(self, status: int, fields: Passed) -> None:
        """Note the head of the answer."""
        self.status = status
        self._response = fields


class Exchange:
    """One request and everything that is known about it. See the module's docstring."""

    __slots__ = (
        "_dialect",
        "_document",
        "_headers",
        "_id",
        "_surface",
        "account_id",
        "answered_ns",
        "attempts",
        "body",
        "bytes_received",
        "bytes_sent",
        "calls",
        "consumed",
        "controls",
        "depth",
        "end_marker_seen",
        "ended_ns",
        "error",
        "gateway",
        "identity",
        "line",
        "method",
        "model",
        "notes",
        "outcome",
        "parent_id",
        "passed",
        "path",
        "peer",
        "plan",
        "prefix",
        "provider",
        "reads",
        "spent_ns",
        "started_ns",
        "status",
        "streaming",
        "target",
        "version",
    )

    def __init__(
        self, method: bytes, target: bytes, version: str, headers: Headers | Flat, peer: str
    ) -> None:
        # accept
        self._id: str | None = None
        self.started_ns = monotonic_ns()
        self.method = method  # as sent: b"POST"
        self.target = target  # the request target's bytes, path and query
        self.version = version  # "1.1" or "1.0"
        self._headers = headers
        self.peer = peer  # who calls: "127.0.0.1:50312", "unix", or "call" for a child
        self.passed: Passed | None = None  # of `headers` those that may go up, on a running line
        self.controls: dict[bytes, bytes] | None = None  # our own request fields, by name
        self.prefix: bytes = b"weir-"  # the prefix this caller writes them with
        self.parent_id: str | None = None  # of a child made by `gateway.call`
        self.depth = 0
        self.calls = 0  # children made for it
        # route
        self.plan: Plan = None  # type: ignore[assignment]  # set before any hook can see it
        self.gateway: str = "default"
        self.provider: Provider | None = None
        self.path: bytes = target  # what follows the provider's slug
        self.account_id: str | None = None  # the account segment of Cloudflare's form
        self._dialect: str | None = None
        self._surface: str | None = None
        # authenticate
        self.identity: Identity | None = None
        self.consumed: tuple[bytes, ...] = ()  # fields that held our own credential: never sent up
        self.reads: str | None = None  # as a plugin's: "json" has this body read, if nobody reads
        # read
        self.body: bytes | None = None  # whole, if a plugin reads it; never mutated
        self.bytes_received = 0
        self._document: Any = None
        # prepare
        self.model: str | None = None
        self.streaming: bool | None = None
        # attempts
        self.attempts: list[Attempt] = []
        # answer and relay
        self.status: int | None = None
        self.answered_ns: int | None = None  # when the head went to the caller
        self.bytes_sent = 0  # body bytes handed to the caller's socket, framing not counted
        self.end_marker_seen: bool | None = None  # None where nobody split the events
        # settle
        self.outcome: str | None = None
        self.error: GatewayError | None = None
        self.ended_ns: int | None = None
        # anyone
        self.line: Line | None = None
        self.notes: dict[str, Any] = {}
        self.spent_ns: list[int] | None = None  # by place in `Plan.plugins`, where one asks for it

    @property
    def id(self) -> str:
        """This exchange's own id, a UUIDv7 in text (RFC 9562 section 5.7), made when first asked
        for.
        """
        if self._id is None:
            self._id = uuid7()
        return self._id

    @property
    def headers(self) -> Headers:
        """The request's fields as they came; made when first asked for."""
        if isinstance(self._headers, list):
            self._headers = Headers(paired(self._headers))
        return self._headers

    @property
    def flat(self) -> Flat:
        """The same as a flat list: name, value, name, value."""
        headers = self._headers
        if isinstance(headers, list):
            return headers
        return [part for pair in headers.items for part in pair]

    @property
    def document(self) -> Any:
        """The body decoded as JSON, once and only if somebody asks. None if there is no body or it
        is not JSON.
        """
        if self._document is None and self.body:
            try:
                self._document = read_json(self.body)
            except orjson.JSONDecodeError:
                return None
        return self._document

    @property
    def settings(self) -> Mapping[str, Any]:
        """Each plugin's config for this gateway, by plugin name; it changes with a reload, the
        plugin does not.
        """
        return self.plan.settings

    @property
    def spent(self) -> dict[str, int] | None:
        """Nanoseconds by plugin up to the answer's head, where one asks for it (`measures`)."""
        if self.spent_ns is None:
            return None
        return dict(zip(self.plan.plugins, self.spent_ns, strict=True))

    @property
    def usage(self) -> Usage | None:
        """What all attempts used together; None where nobody knows of any."""
        found: Usage | None = None
        for attempt in self.attempts:
            if attempt.usage is not None:
                if len(self.attempts) == 1:
                    return attempt.usage
                if found is None:
                    found = Usage()
                found.add(attempt.usage)
        return found

    @property
    def attempt(self) -> Attempt | None:
        """The latest attempt."""
        return self.attempts[-1] if self.attempts else None

    @property
    def dialect(self) -> Dialect | None:
        """The reader of the caller's wire format, chosen by provider and path, or by the route."""
        if self._dialect is not None:
            return dialect_of(self._dialect, self.path)
        provider = self.provider
        return None if provider is None else provider.dialect_at(self.path)

    @property
    def surface(self) -> str:
        """Whose error shape to speak: openai, anthropic, gemini, cloudflare or plain."""
        if self._surface is None:
            dialect = self.dialect
            self._surface = "plain" if dialect is None else dialect.surface
        return self._surface

    @surface.setter
    def surface(self, name: str) -> None:
        self._surface = name

    def speaks(self, family: str | None) -> None:
        """Set the dialect of a plugin's route."""
        self._dialect = family

    def known(self) -> Identity:
        """The identity, made on first use."""
        if self.identity is None:
            self.identity = Identity()
        return self.identity

    def control(self, name: bytes) -> bytes | None:
        """The value of one of our own request fields, by its name without prefix:
        `control(b"metadata")`.
        """
        controls = self.controls
        if controls is None:
            return None
        for prefix in self.plan.header_prefixes:
            value = controls.get(prefix + name)
            if value is not None:
                return value
        return None

    def detach(self, bytes_max: int, seconds: float) -> None:
        """If the caller leaves, go on without it, for at most that many bytes and seconds."""
        if self.line is not None:
            self.line.detach(bytes_max, seconds)

    def stop(self, outcome: str = STOPPED, tail: bytes = b"") -> None:
        """End the answer now, and the upstream with it.

        tail: the dialect's own ending; it closes the body properly. Without one, or where the
        length was promised already, the answer is cut. Before the head is out the caller gets a 403
        instead. A WebSocket is closed with 1008, behind the tail as a last message.
        """
        if self.line is not None:
            self.line.stop(outcome, tail)

    def gate(self, awaitable: Awaitable[Reply | None]) -> None:
        """Hold the head until this is done. A Reply from it takes the answer's place; an exception
        is a 500.
        """
        if self.line is None:
            raise RuntimeError(
                "gate() needs a running exchange; call it from a hook before `answer`"
            )
        self.line.gate(awaitable)

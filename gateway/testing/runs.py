"""A whole exchange on the real line, in the process of the test.

    with ScriptedUpstream(answers(b"{}")) as upstream:
        ran = run(plan_of(Plugin(Config())), exchange(body=b"{}"), upstream)
    assert (ran.status, ran.exchange.outcome) == (200, "complete")

Line, pool and upstream connection are those of the product. Only the caller is stood in for: `Ran`
keeps what would have gone to its socket, write by write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import cache
from typing import Any, Final

import uvloop

from gateway.body import RequestBody
from gateway.calls import call
from gateway.clock import Clock
from gateway.config import Config, ProviderConfig
from gateway.exchange import Exchange
from gateway.gateway import Answered, Gateway, Request
from gateway.line import Line
from gateway.plan import Plan
from gateway.pool import Pool
from gateway.providers import Provider, build, built_in_names
from gateway.refusal import Screen
from gateway.routes import Table
from gateway.strand import Strand
from gateway.testing.exchanges import BARE, NO_STATE
from gateway.testing.upstream import ScriptedUpstream
from gateway.testing.wire import END_OF_HEAD, Fields, is_chunked, parse_head, size_of, values

# A line that has not ended after this long on one machine has found something.
PATIENCE_S: Final = 10.0
# Where providers lead without an upstream: nothing can listen below a device.
NOWHERE: Final = "/dev/null/nobody"

Lifespan = Callable[[Gateway], AbstractAsyncContextManager[Any]]


class Ran:
    """An exchange that is over, and what went to its caller.

    writes: as they were made. ending: "complete", "cut", or "left" where the caller did.
    """

    def __init__(self, made: Exchange, leaves_after: int | None = None) -> None:
        self.exchange = made
        self.writes: list[bytes] = []
        self.ending = ""
        self.is_full = False
        self.may_keep = True
        self.line: Line | None = None
        self._leaves_after = leaves_after

    @property
    def raw(self) -> bytes:
        return b"".join(self.writes)

    @property
    def status(self) -> int:
        return int(self.raw.split(b" ", 2)[1])

    @property
    def fields(self) -> Fields:
        return parse_head(self.raw.partition(END_OF_HEAD)[0])[1]

    @property
    def body(self) -> bytes:
        """What of the body came, without its framing."""
        body = self.raw.partition(END_OF_HEAD)[2]
        return _unchunked(body)[0] if is_chunked(self.fields) else body

    @property
    def is_complete(self) -> bool:
        """Whether the framing says that the message is whole, and nothing was said to follow it."""
        body = self.raw.partition(END_OF_HEAD)[2]
        if self.ending != "complete":
            return False
        if self.exchange.method == b"HEAD" or self.status in (204, 304):
            return not body
        return _unchunked(body)[1] if is_chunked(self.fields) else len(body) == size_of(self.fields)

    def get(self, name: bytes) -> bytes | None:
        """Give the first value of a field, by its name in lower case."""
        return next(iter(values(self.fields, name)), None)

    # -- what a line needs of a caller -------------------------------------------------------------

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        if self._leaves_after is not None and len(self.raw) >= self._leaves_after:
            self._leaves_after = None
            asyncio.get_running_loop().call_soon(self._leave)

    def writelines(self, pieces: list[bytes]) -> None:
        self.write(b"".join(pieces))

    def done(self, *, keep: bool) -> None:
        self.ending = "complete"

    def cut(self, *, reset_too: bool) -> None:
        self.ending = "cut"

    def _leave(self) -> None:
        if not self.ending and self.line is not None:
            self.ending = "left"
            self.line.leave()


def run(
    plan: Plan,
    made: Exchange,
    upstream: ScriptedUpstream | None = None,
    *,
    config: Config = BARE,
    lifespans: Iterable[Lifespan] = (),
    leaves_after: int | None = None,
) -> Ran:
    """Send an exchange down the real line with that plan, to its end.

    upstream: where every provider leads; without one none can be reached. config: other limits, or
    named gateways, which all get this plan. lifespans: those of the plugins that need the gateway.
    leaves_after: the caller leaves once it got so many bytes, head and framing counted.
    """
    ran = Ran(made, leaves_after)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(plan, ran, upstream, config, lifespans))
    return ran


async def _run(
    plan: Plan,
    ran: Ran,
    upstream: ScriptedUpstream | None,
    config: Config,
    lifespans: Iterable[Lifespan],
) -> None:
    loop = asyncio.get_running_loop()
    clock = Clock(loop)
    pool = Pool(loop, clock, config.limits)
    providers = _providers(**({"socket": NOWHERE} if upstream is None else upstream.provider()))
    plans = dict.fromkeys(("default", *config.gateways), plan)

    async def ask(parent: Exchange | None, request: Request) -> Answered:
        return await call(gateway, parent, request)

    gateway = Gateway(config, providers, Table(config, providers), plans, pool, ask)
    async with AsyncExitStack() as stack:
        stack.callback(clock.close)
        stack.callback(pool.close)
        for lifespan in lifespans:
            await stack.enter_async_context(lifespan(gateway))
        stack.push_async_callback(gateway.stop_tasks)
        async with asyncio.timeout(PATIENCE_S):
            await _started(gateway, ran, config)
    await asyncio.sleep(0)  # lets what was closed above go


def _started(gateway: Gateway, ran: Ran, config: Config) -> Strand:
    made = ran.exchange
    screened = Screen(config).pass_over(made)
    body: bytes | RequestBody = made.body or b""
    if screened.is_chunked:
        body = RequestBody(None, None, is_chunked=True)
        body.feed(made.body or b"", True)
    made.body = made.model = made.streaming = None  # the line finds these out
    line = ran.line = Line(gateway, made, ran, body, screened)
    gateway.lines.add(line)
    return line.start()


@cache
def _providers(
    base_url: str = "http://localhost", socket: str | None = None, ca_file: str | None = None
) -> dict[str, Provider]:
    """Give every built-in provider, all of them leading to one place."""
    table = ProviderConfig(base_url=base_url, socket=socket, ca_file=ca_file)
    config = Config(enabled=(), providers=dict.fromkeys(built_in_names(), table))
    return build(config, NO_STATE, {})


def _unchunked(raw: bytes) -> tuple[bytes, bool]:
    """Take the framing off a chunked body; say whether it ended as one does."""
    pieces: list[bytes] = []
    while True:
        line, found, rest = raw.partition(b"\r\n")
        if not found:
            return b"".join(pieces), False
        size = int(line, 16)
        if not size:
            return b"".join(pieces), rest == b"\r\n"
        pieces.append(rest[:size])
        raw = rest[size + 2 :]

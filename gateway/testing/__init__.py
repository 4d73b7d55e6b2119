r"""The kit for testing plugins, which our own tests use too: real sockets, real processes.

    from gateway.testing import exchange, plan_of, run

    def test_the_plugin_refuses():
        ran = run(plan_of(Plugin(Config())), exchange(headers=[(b"X-Bad", b"1")]))
        assert ran.status == 403

    from gateway.testing import ScriptedUpstream, RawCaller, running_gateway, streams

    def test_the_answer_arrives():
        with ScriptedUpstream(streams([b"data: 1\n\n"])) as upstream, running_gateway(
            {"providers": {"openai": upstream.provider()}}, plugins=["my_plugin.py"]
        ) as gateway, RawCaller(gateway.port) as caller:
            caller.request(b"GET", b"/openai/v1/models")
            assert caller.answer().body == b"data: 1\n\n"

`exchange` makes what a hook is given and `run` sends it down the real line, in milliseconds.
`ScriptedUpstream` stands where a provider stands and does what a script says; `running_gateway` is
the whole gateway in a process of its own; `RawCaller` is a caller that sees every byte.
"""

from __future__ import annotations

from gateway.testing.caller import RawAnswer, RawCaller, exchange_bytes
from gateway.testing.exchanges import attempt_of, exchange, plan_of
from gateway.testing.running import RunningGateway, StartFailed, running_gateway
from gateway.testing.runs import Ran, run
from gateway.testing.scripts import answers, head, says, sized, streams
from gateway.testing.upstream import Script, ScriptedUpstream, Tls
from gateway.testing.visit import Connection, Request, Visit
from gateway.testing.wire import BrokenOff, Wire, chunk, chunked, parse_head

__all__ = [
    "BrokenOff",
    "Connection",
    "Ran",
    "RawAnswer",
    "RawCaller",
    "Request",
    "RunningGateway",
    "Script",
    "ScriptedUpstream",
    "StartFailed",
    "Tls",
    "Visit",
    "Wire",
    "answers",
    "attempt_of",
    "chunk",
    "chunked",
    "exchange",
    "exchange_bytes",
    "head",
    "parse_head",
    "plan_of",
    "run",
    "running_gateway",
    "says",
    "sized",
    "streams",
]

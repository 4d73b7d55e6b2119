"""One provider under the doctor's eyes, over real sockets."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest
import trustme

from gateway.cli.machine import Check
from gateway.cli.reach import Reach
from gateway.config import Config
from gateway.convert import convert_table
from gateway.providers import build
from gateway.testing import Script, ScriptedUpstream, Tls, answers

KEY = "sk-live-0123456789abcdef"
DATE = (b"Date", b"Tue, 01 Jan 2030 00:00:00 GMT")


def reach(name: str, table: dict[str, Any], tmp_path, timeout_s: float = 5.0, **environ) -> Reach:
    config, problems = convert_table(
        Config, {"providers": {name: table}}, where="", environ=environ
    )
    assert config is not None, problems
    made = Reach(build(config, tmp_path, environ)[name], timeout_s)
    asyncio.run(made.run())
    assert KEY not in repr([check.text for check in made.checks])
    return made


def steps(made: Reach) -> list[tuple[str, str]]:
    return [(check.check, check.state) for check in made.checks]


def last(made: Reach) -> Check:
    return made.checks[-1]


def asked(name: str, script: Script, tmp_path, *, with_key: bool = True, **table) -> Check:
    with ScriptedUpstream(script) as upstream:
        given = {"api_key": "env:KEY"} if with_key else {}
        made = reach(name, upstream.provider(**given, **table), tmp_path, KEY=KEY)
    return last(made)


def test_all_steps_of_a_provider_that_works_are_ok(tmp_path):
    with ScriptedUpstream(answers(b"{}", DATE)) as upstream:
        made = reach("openai", upstream.provider(api_key="env:KEY"), tmp_path, KEY=KEY)
        (request,) = upstream.requests

    assert steps(made) == [("dns", "ok"), ("tcp", "ok"), ("auth", "ok")]
    assert (request.method, request.target) == (b"GET", b"/v1/models")
    assert (b"authorization", f"Bearer {KEY}".encode()) in [
        (name.lower(), value) for name, value in request.fields
    ]
    assert made.is_near
    assert made.skew_s is not None
    assert abs(made.skew_s) > 300


@pytest.mark.parametrize(
    ("name", "target", "field"),
    [
        ("anthropic", b"/v1/models", b"x-api-key"),
        ("google-ai-studio", b"/v1beta/models", b"x-goog-api-key"),
        ("openrouter", b"/v1/key", b"authorization"),
    ],
)
def test_each_dialect_has_its_own_free_call(tmp_path, name, target, field):
    with ScriptedUpstream(answers()) as upstream:
        reach(name, upstream.provider(api_key="env:KEY"), tmp_path, KEY=KEY)
        (request,) = upstream.requests

    assert request.target == target
    names = [name.lower() for name, _ in request.fields]
    assert field in names
    assert (b"anthropic-version" in names) == (name == "anthropic")


@pytest.mark.parametrize(
    ("name", "status", "state", "words"),
    [
        ("openai", 200, "ok", "the key is accepted"),
        ("openai", 401, "fail", "the key is refused; put a valid one in env:KEY"),
        ("openai", 403, "fail", "the key is refused"),
        ("google-ai-studio", 400, "fail", "the key is refused"),
        ("openai", 400, "warn", "says nothing about the key"),
        ("openai", 404, "warn", "says nothing about the key"),
        ("openai", 429, "warn", "too many requests"),
        ("openai", 503, "warn", "has trouble"),
        ("huggingface", 200, "warn", "says nothing about the key"),
    ],
)
def test_what_an_answer_means(tmp_path, name, status, state, words):
    check = asked(name, answers(b"{}", status=status), tmp_path)

    assert (check.check, check.state) == ("auth", state)
    assert words in check.text


def test_without_a_key_a_refusal_is_what_was_expected(tmp_path):
    check = asked("openai", answers(b"{}", status=401), tmp_path, with_key=False)

    assert check.state == "ok"
    assert "no key here (env:OPENAI_API_KEY), callers bring their own" in check.text


def test_a_refusal_that_quotes_the_key_is_not_repeated(tmp_path):
    check = asked("openai", answers(KEY.encode(), status=401), tmp_path)

    assert check.state == "fail"


def test_nobody_there_fails_at_the_connection(tmp_path):
    made = reach("openai", {"base_url": "http://127.0.0.1:9/v1"}, tmp_path)

    assert steps(made) == [("tcp", "fail")]
    assert "start what listens at 127.0.0.1:9" in last(made).text


def test_a_name_that_does_not_exist_fails_at_the_name_within_the_deadline(tmp_path):
    made = reach("openai", {"base_url": "https://weir.invalid/v1"}, tmp_path, 1.0)

    assert steps(made) == [("dns", "fail")]
    assert not made.is_reached
    assert not made.is_near


def test_silence_fails_with_the_deadline(tmp_path):
    def silent(visit):
        visit.read()
        visit.connection.wait_gone()

    with ScriptedUpstream(silent) as upstream:
        made = reach("openai", upstream.provider(), tmp_path, 0.3)

    assert (last(made).check, last(made).state) == ("auth", "fail")
    assert "no answer within 0.3 s" in last(made).text


def tls(tmp_path, **options) -> Tls:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", **options).configure_cert(context)
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return Tls(context, str(path))


def test_a_certificate_is_verified_and_its_end_is_told(tmp_path):
    from datetime import UTC, datetime, timedelta

    with ScriptedUpstream(answers(), tls=tls(tmp_path)) as upstream:
        good = reach("openai", upstream.provider(), tmp_path)
        unknown = reach("openai", {"base_url": upstream.url}, tmp_path)
    soon = tls(tmp_path, not_after=datetime.now(UTC) + timedelta(days=3, hours=1))
    with ScriptedUpstream(answers(), tls=soon) as upstream:
        ending = reach("openai", upstream.provider(), tmp_path)

    assert steps(good) == [("dns", "ok"), ("tcp", "ok"), ("tls", "ok"), ("auth", "ok")]
    assert steps(unknown)[-1] == ("tls", "fail")
    assert "is not trusted" in last(unknown).text
    assert "ca_file" in last(unknown).text
    assert ("tls", "warn") in steps(ending)
    assert "ends in 3 days" in ending.checks[2].text


def test_a_unix_socket_is_connected_to(tmp_path):
    with ScriptedUpstream(answers(), unix=True) as upstream:
        made = reach("openai", upstream.provider(), tmp_path)
    gone = reach("openai", {"socket": str(tmp_path / "none.sock")}, tmp_path)

    assert steps(made) == [("tcp", "ok"), ("auth", "ok")]
    assert steps(gone) == [("tcp", "fail")]


def test_the_way_leads_through_the_proxy_that_requests_take(tmp_path):
    def refuses(visit):
        visit.send(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")

    with ScriptedUpstream(refuses) as proxy:
        table = {
            "base_url": "http://far.example/v1",
            "proxy": f"http://u:pw@127.0.0.1:{proxy.port}",
        }
        made = reach("openai", table, tmp_path)
        (request,) = proxy.requests

    assert (request.method, request.target) == (b"CONNECT", b"far.example:80")
    assert steps(made) == [("tcp", "ok"), ("proxy", "fail")]
    assert "refused with status 407" in last(made).text
    assert "pw" not in last(made).text


def test_an_address_that_a_path_decides_is_not_checked(tmp_path):
    made = reach("azure-openai", {}, tmp_path)

    assert steps(made) == [("address", "ok")]

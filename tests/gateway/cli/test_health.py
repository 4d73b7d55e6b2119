"""`weir health`: ready, not ready, and not there."""

from __future__ import annotations

import json
import signal
import socket

import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from gateway.cli.health import admin_url
from gateway.config import Admin, Config
from gateway.testing import RawCaller, ScriptedUpstream, answers, running_gateway


def health(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["health", *arguments])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_gateway_is_ready_until_it_drains():
    def slow(visit):
        visit.read()
        visit.connection.wait_gone()

    with (
        ScriptedUpstream(slow) as upstream,
        running_gateway({"providers": {"openai": upstream.provider()}}) as gateway,
    ):
        ready = health("--url", gateway.admin_url)
        assert (ready.exit_code, ready.output) == (0, f"ready: {gateway.admin_url}\n")

        with RawCaller(gateway.port) as caller:
            caller.request(b"GET", b"/openai/v1/models")
            upstream.wait_for(lambda: len(upstream.requests) == 1)
            gateway.signal(signal.SIGTERM)
            gateway.wait_for_log("draining")
            draining = health("--url", gateway.admin_url)
        assert (draining.exit_code, draining.output) == (
            1,
            f"not ready: {gateway.admin_url}: status 503; draining\n",
        )


def test_the_configuration_says_where_to_ask(tmp_path):
    port = free_port()
    with running_gateway({"admin": {"port": port}}) as gateway:
        result = health("--config", str(gateway.config_file))

    assert (result.exit_code, result.output) == (0, f"ready: http://127.0.0.1:{port}\n")


def test_json_tells_the_same_in_fields():
    with ScriptedUpstream(answers(b"starting\n", status=503)) as upstream:
        url = upstream.url
        result = health("--json", "--url", url)
        assert upstream.requests[0].target == b"/readyz"

    facts = json.loads(result.output)
    assert (result.exit_code, facts.pop("ms") > 0) == (1, True)
    assert facts == {"ready": False, "url": url, "status": 503, "reason": "starting"}


def test_a_path_of_ones_own_is_asked_as_it_is():
    with ScriptedUpstream(answers(b"live\n")) as upstream:
        assert health("--url", f"{upstream.url}/livez").exit_code == 0
        assert upstream.requests[0].target == b"/livez"


def test_nobody_there_is_not_ready_and_the_reason_is_told():
    result = health("--url", f"http://127.0.0.1:{free_port()}")

    assert result.exit_code == 1
    assert "is the gateway running" in result.output
    assert result.output.count("\n") == 1


def test_silence_ends_with_the_timeout():
    def silent(visit):
        visit.read()
        visit.connection.wait_gone()

    with ScriptedUpstream(silent) as upstream:
        result = health("--url", upstream.url, "--timeout", "100ms")

    assert (result.exit_code, "no answer in time" in result.output) == (1, True)


def test_what_speaks_no_http_is_not_ready():
    with ScriptedUpstream(lambda visit: visit.send(b"220 mail.example ESMTP\r\n\r\n")) as upstream:
        result = health("--url", upstream.url)

    assert (result.exit_code, "does not speak HTTP" in result.output) == (1, True)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8081"),
        ("0.0.0.0", "http://127.0.0.1:8081"),
        ("::", "http://[::1]:8081"),
        ("admin.internal", "http://admin.internal:8081"),
    ],
)
def test_a_wildcard_is_asked_on_loopback(host, url):
    assert admin_url(Config(admin=Admin(host=host))) == url


@pytest.mark.parametrize(
    "arguments",
    [
        ["--url", "ftp://127.0.0.1"],
        ["--url", "http://"],
        ["--url", "http://127.0.0.1:99999"],
        ["--timeout", "2"],
        ["--timeout", "0s"],
        ["--timeout", "soon"],
    ],
)
def test_arguments_that_make_no_sense_are_usage_errors_that_name_the_option(arguments):
    result = health(*arguments)

    assert result.exit_code == 2
    assert arguments[0] in result.output


def test_a_port_that_is_chosen_at_start_needs_the_url(tmp_path):
    file = tmp_path / "weir.toml"
    file.write_text("[admin]\nport = 0\n")
    result = health("--config", str(file))

    assert result.exit_code == 2
    assert "give --url" in result.output


def test_a_configuration_that_cannot_work_is_78(tmp_path):
    file = tmp_path / "weir.toml"
    file.write_text("[admin]\nprot = 0\n")

    assert health("--config", str(file)).exit_code == 78

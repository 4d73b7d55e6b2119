"""The operator's listener: probes for all, everything else for the holder of the token."""

from __future__ import annotations

import stat

import orjson
import pytest

from gateway import StartError
from gateway.admin import READ_FILE, admin_token
from gateway.testing import RawCaller, running_gateway

PAGES = """
from aiohttp import web
from gateway import Endpoint, hookimpl

class Plugin:
    def __init__(self, config): pass

    @hookimpl
    def endpoints(self, gateway):
        async def said(request):
            name = request.match_info.get("name", "")
            return web.Response(text=f"{request.method} {request.path} {name}")

        return [
            Endpoint("GET", "/api/closed", said),
            Endpoint("GET", "/open", said, token=False),
            Endpoint("GET", "/both", said, token=False),
            Endpoint("POST", "/both", said),
            Endpoint("GET", "/open/{name:[a-z]+}", said, token=False),
        ]
"""
PROBES = (b"/livez", b"/readyz", b"/healthz")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    pages = tmp_path_factory.mktemp("plugins") / "pages.py"
    pages.write_text(PAGES)
    with running_gateway(plugins=[pages]) as made:
        yield made


@pytest.fixture
def ask(gateway):
    """Send a request to the admin listener; with its token if asked to."""

    def asked(method: bytes, target: bytes, *fields, token=None, host=b"localhost"):
        if token is not None:
            fields = (*fields, (b"Authorization", b"Bearer " + token))
        with RawCaller(gateway.admin_port) as caller:
            caller.request(method, target, *fields, host=host)
            return caller.answer()

    return asked


@pytest.fixture
def token(gateway) -> bytes:
    return gateway.admin_token.encode()


# -- the token -------------------------------------------------------------------------------------


def test_the_token_is_made_once_for_its_owner_alone(tmp_path):
    first = admin_token(tmp_path)
    path = tmp_path / "admin.token"

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(first.reveal()) >= 32
    assert admin_token(tmp_path).reveal() == first.reveal() == path.read_bytes().strip()


def test_tokens_differ(tmp_path):
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()

    assert len({admin_token(folder).reveal() for folder in folders}) == 2


def test_a_token_of_the_operators_own_is_taken(tmp_path):
    (tmp_path / "admin.token").write_text("  chosen\n")

    assert admin_token(tmp_path).reveal() == b"chosen"


def test_an_empty_token_is_no_token(tmp_path):
    (tmp_path / "admin.token").write_text("\n")

    with pytest.raises(StartError, match="delete it"):
        admin_token(tmp_path)


def test_the_running_gateways_token_and_folder_are_its_owners_alone(gateway, token):
    state = gateway.folder / "state"

    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert stat.S_IMODE((state / "admin.token").stat().st_mode) == 0o600
    assert token.decode() not in gateway.stderr


# -- who may ask -----------------------------------------------------------------------------------


@pytest.mark.parametrize("target", PROBES)
def test_probes_need_no_token_and_say_little(ask, target):
    answer = ask(b"GET", target)

    assert (answer.status, answer.body) in [(200, b"live\n"), (200, b"ready\n")]
    assert answer.get(b"server") is None


@pytest.mark.parametrize("given", [None, b"", b"wrong", b"\xff", b"prefix"])
def test_without_the_token_the_api_is_closed(ask, token, given):
    answer = ask(b"GET", b"/api/closed", token=token[:-1] if given == b"prefix" else given)

    assert (answer.status, answer.get(b"www-authenticate")) == (401, b"Bearer")
    assert token not in answer.raw
    assert answer.get(b"server") is None


def test_the_token_opens_the_api(ask, token):
    assert ask(b"GET", b"/api/closed", token=token).body == b"GET /api/closed "


def test_the_token_for_reading_opens_what_a_get_asks_for_and_nothing_else(ask, gateway):
    path = gateway.folder / "state" / READ_FILE
    read = path.read_bytes().strip()

    assert path.stat().st_mode & 0o777 == 0o600
    assert read.decode() != gateway.admin_token
    assert ask(b"GET", b"/api/closed", token=read).body == b"GET /api/closed "
    for method, target in ((b"POST", b"/api/reload"), (b"POST", b"/both")):
        answer = ask(method, target, token=read)
        assert answer.status == 403
        assert read not in answer.raw


def test_the_token_is_a_bearer_token(ask, token):
    answer = ask(b"GET", b"/api/closed", (b"Authorization", b"Basic " + token))

    assert answer.status == 401


def test_an_endpoint_may_be_open(ask):
    assert ask(b"GET", b"/open").body == b"GET /open "


def test_an_endpoint_with_a_place_in_its_path_may_be_open(ask):
    assert ask(b"GET", b"/open/abc").body == b"GET /open/abc abc"


def test_an_open_endpoint_opens_no_other_method_of_its_path(ask, token):
    assert ask(b"GET", b"/both").status == 200
    assert ask(b"POST", b"/both").status == 401
    assert ask(b"POST", b"/both", token=token).status == 200


def test_what_nobody_serves_is_a_404_without_a_name(ask):
    answer = ask(b"GET", b"/nothing")

    assert (answer.status, answer.get(b"server")) == (404, None)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (b"localhost", 200),
        (b"LOCALHOST:1", 200),
        (b"a.localhost", 200),
        (b"127.0.0.1:8081", 200),
        (b"[::1]", 200),
        (b"evil.example", 403),
        (b"localhost.evil.example", 403),
        (b"", 403),
    ],
)
@pytest.mark.parametrize("target", [b"/readyz", b"/open"])
def test_a_rebound_name_reaches_nothing(ask, host, status, target):
    assert ask(b"GET", target, host=host).status == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (b"http://localhost", 200),
        (b"https://LOCALHOST", 200),
        (b"http://localhost:3000", 403),
        (b"https://evil.example", 403),
        (b"null", 403),
        (b"", 403),
    ],
)
def test_a_page_of_another_origin_is_refused(ask, token, origin, status):
    answer = ask(b"GET", b"/api/closed", (b"Origin", origin), token=token)

    assert answer.status == status


# -- reload ----------------------------------------------------------------------------------------


def test_a_reload_needs_the_token_and_a_post(ask, token):
    assert ask(b"POST", b"/api/reload").status == 401
    assert ask(b"GET", b"/api/reload", token=token).status == 405


def test_a_reload_takes_the_new_configuration_and_says_what_waits(gateway, ask, token):
    gateway.write_config({"enabled": ["timing"], "limits": {"attempts_max": 3}})
    answer = ask(b"POST", b"/api/reload", token=token)

    assert answer.status == 200
    # The kit writes port 0 as before: only what is enabled has changed.
    assert orjson.loads(answer.body) == {"reloaded": True, "restart_needed": ["enabled"]}
    gateway.wait_for_log("reloaded")


def test_a_reload_with_a_fault_keeps_the_old_configuration_and_says_why(gateway, ask, token):
    gateway.write_config({"limits": {"atempts_max": 3}, "server": {"ports": 1}})
    answer = ask(b"POST", b"/api/reload", token=token)
    gateway.write_config({})

    error = orjson.loads(answer.body)["error"]
    assert answer.status == 400
    assert "attempts_max" in error
    assert "ports" in error
    assert gateway.wait_for_log("reload_failed")["error"] == error
    assert ask(b"GET", b"/readyz").status == 200


# -- the log's level -------------------------------------------------------------------------------


def set_level(gateway, body: bytes, token=None):
    fields = [] if token is None else [(b"Authorization", b"Bearer " + token)]
    with RawCaller(gateway.admin_port) as caller:
        caller.request(b"POST", b"/api/log", *fields, body=body)
        return caller.answer()


def test_the_logs_level_changes_at_once_until_a_reload(gateway, ask, token):
    first = set_level(gateway, b'{"level": "error"}', token)
    assert (first.status, orjson.loads(first.body)) == (200, {"level": "error", "before": "info"})
    reloads = [line["event"] for line in gateway.log].count("reloaded")
    ask(b"POST", b"/api/reload", token=token)  # sets info again, and tells of itself
    gateway.wait_for_log("reloaded", reloads + 1)

    second = set_level(gateway, b'{"level": "debug"}', token)
    assert orjson.loads(second.body) == {"level": "debug", "before": "info"}
    line = gateway.wait_for_log("log_level_set")
    assert (line["log_level"], line["before"], line["level"]) == ("debug", "info", "warning")
    ask(b"POST", b"/api/reload", token=token)


def test_the_logs_level_wants_the_token_and_a_post(gateway, ask, token):
    assert set_level(gateway, b'{"level": "debug"}').status == 401
    assert ask(b"GET", b"/api/log", token=token).status == 405


@pytest.mark.parametrize(
    "body", [b"", b"debug", b"[]", b"{}", b'{"level": "loud"}', b'{"level": "info", "x": 1}']
)
def test_a_level_that_is_none_is_refused_with_those_there_are(gateway, token, body):
    answer = set_level(gateway, body, token)

    assert answer.status == 400
    assert '"debug", "info", "warning", "error"' in orjson.loads(answer.body)["error"]


def test_the_logs_level_changes_in_every_worker():
    with running_gateway({"server": {"workers": 2}}) as gateway:
        token = gateway.admin_token.encode()
        assert set_level(gateway, b'{"level": "debug"}', token).status == 200
        gateway.wait_for_log("log_level_set", 2)
        assert set_level(gateway, b'{"level": "loud"}', token).status == 400
        assert set_level(gateway, b'{"level": "debug"}').status == 401

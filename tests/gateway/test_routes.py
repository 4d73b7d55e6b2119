"""Which provider, gateway and path a target names, and what is said of one that names none."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Config, GatewayConfig, ProviderConfig
from gateway.errors import StartError
from gateway.gateway import Route
from gateway.providers import build
from gateway.routes import KNOWN_BYTES_MAX, KNOWN_MAX, Found, NoRoute, Table

CONFIG = Config(
    providers={"mine": ProviderConfig(base_url="http://a.example")},
    gateways={
        "staging": GatewayConfig(hosts=("Staging.example", "::1")),
        "batch": GatewayConfig(),
    },
)


def table(*routes: Route, config: Config = CONFIG) -> Table:
    made = Table(config, build(config, Path("/state"), {}))
    for route in routes:
        made.add_route(route)
    return made


TABLE = table()


def find(
    target: bytes, gateway: bytes | None = None, host: bytes = b"localhost", routes: Table = TABLE
) -> Found:
    return routes.find(target, gateway, host)


def fault(target: bytes, gateway: bytes | None = None, routes: Table = TABLE) -> NoRoute:
    with pytest.raises(NoRoute) as caught:
        routes.find(target, gateway, b"localhost")
    assert caught.value.status == 404
    return caught.value


@pytest.mark.parametrize(
    ("target", "provider", "path"),
    [
        (b"/openai/v1/chat/completions", "openai", b"v1/chat/completions"),
        (b"/openai/v1/chat/completions?a=b/c", "openai", b"v1/chat/completions?a=b/c"),
        (b"/openai", "openai", b""),
        (b"/openai/", "openai", b""),
        (b"/openai?a=/b", "openai", b"?a=/b"),
        (b"/openai//x", "openai", b"/x"),
        (b"/openai/%2e%2E/\xff;?", "openai", b"%2e%2E/\xff;?"),
        (b"/mine/anything", "mine", b"anything"),
        (b"/google-ai-studio/v1beta/models/m:g", "google-ai-studio", b"v1beta/models/m:g"),
    ],
)
def test_the_first_segment_names_the_provider_and_the_rest_is_its_path(target, provider, path):
    found = find(target)
    assert found.provider is not None
    assert (found.provider.name, found.path) == (provider, path)
    assert (found.gateway, found.account, found.dialect) == ("default", None, None)


@pytest.mark.parametrize(
    ("target", "account", "gateway", "provider", "path"),
    [
        (b"/v1/acc/default/openai/chat/completions", "acc", "default", "openai", None),
        (b"/v1/acc/staging/openai/v1/models?a=b/c", "acc", "staging", "openai", b"v1/models?a=b/c"),
        (b"/v1/acc/batch/anthropic", "acc", "batch", "anthropic", b""),
        (b"/v1/acc/batch/anthropic/", "acc", "batch", "anthropic", b""),
        (b"/v1/acc/batch/anthropic?x=/y", "acc", "batch", "anthropic", b"?x=/y"),
        (b"/v1/acc/batch/openai//a//b", "acc", "batch", "openai", b"/a//b"),
        (b"/v1/acc/default/openai/openai/x", "acc", "default", "openai", b"openai/x"),
    ],
)
def test_cloudflares_form_names_account_gateway_and_provider(
    target, account, gateway, provider, path
):
    found = find(target)
    assert found.provider is not None
    assert (found.account, found.gateway, found.provider.name) == (account, gateway, provider)
    assert found.path == (b"chat/completions" if path is None else path)
    assert found.surface == "cloudflare"


@pytest.mark.parametrize(
    ("target", "surface"),
    [
        (b"/openai/v1/chat/completions", "openai"),
        (b"/openai/v1/responses", "openai"),
        (b"/anthropic/v1/messages", "anthropic"),
        (b"/grok/v1/messages", "anthropic"),
        (b"/google-ai-studio/v1beta/models/m:generateContent", "gemini"),
        (b"/mock/v1beta/models/m:generateContent?alt=sse", "gemini"),
        (b"/deepgram/v1/listen", "plain"),
        (b"/mine/x", "plain"),
    ],
)
def test_errors_have_the_shape_of_the_format_at_that_path(target, surface):
    assert find(target).surface == surface


# -- targets seen before ---------------------------------------------------------------------------

HOSTLESS = Config(
    providers={"mine": ProviderConfig(base_url="http://a.example")},
    gateways={"batch": GatewayConfig()},
)
SEEING = table(config=HOSTLESS)


def test_where_a_target_leads_for_everybody_is_remembered():
    routes = table(config=HOSTLESS)
    found = find(b"/openai/v1/models?a=b", routes=routes)

    assert routes.known == {b"/openai/v1/models?a=b": found}
    assert found.provider is not None
    assert (found.provider.name, found.path) == ("openai", b"v1/models?a=b")
    # Whose dialect it is, and where exactly it leads, is for who comes by.
    assert (found.surface, found.target) == (None, None)


@pytest.mark.parametrize(
    ("target", "gateway"),
    [
        (b"/openai/x", b"batch"),
        (b"/openai/x", b"default"),
        (b"/v1/acc/batch/openai/x", None),
        (b"/v1/acc/default/openai/x", None),
        (b"/v1/chat/completions", None),
        (b"/compat/x", None),
    ],
)
def test_where_it_depends_on_more_than_the_target_or_on_a_plugin_nothing_is(target, gateway):
    routes = table(UNIFIED, COMPAT, config=HOSTLESS)
    find(target, gateway, routes=routes)

    assert routes.known == {}


def test_with_gateways_by_host_a_target_says_too_little():
    routes = table(config=CONFIG)
    find(b"/openai/x", routes=routes)
    find(b"/openai/x", None, b"staging.example", routes=routes)

    assert routes.known == {}


def test_a_target_that_leads_nowhere_is_not_remembered():
    routes = table(config=HOSTLESS)
    for target in (b"/opnai/x", b"/v1/x", b"openai/x", b"*", b""):
        fault(target, routes=routes)
    fault(b"/openai/x", b"nightly", routes=routes)

    assert routes.known == {}


def test_the_memory_of_targets_is_bounded_and_those_in_use_come_back():
    routes = table(config=HOSTLESS)
    most = 0
    for number in range(KNOWN_MAX * 2 + 1):
        find(b"/openai/%d" % number, routes=routes)
        most = max(most, len(routes.known))
    assert most == KNOWN_MAX

    find(b"/openai/0", routes=routes)
    assert b"/openai/0" in routes.known


@pytest.mark.parametrize(
    ("size", "is_kept"), [(KNOWN_BYTES_MAX, True), (KNOWN_BYTES_MAX + 1, False)]
)
def test_a_long_target_is_found_and_not_remembered(size, is_kept):
    routes = table(config=HOSTLESS)
    target = b"/openai/".ljust(size, b"x")

    assert find(target, routes=routes).path == target[len(b"/openai/") :]
    assert (target in routes.known) is is_kept


@given(st.binary(max_size=60))
def test_whatever_is_remembered_of_a_target_is_what_it_says(target):
    SEEING.known.clear()
    for shaped in (b"/openai" + target, b"/openai/" + target, b"/mine?" + target, b"/" + target):
        with contextlib.suppress(NoRoute):
            find(shaped, routes=SEEING)

    assert b"/openai/" + target in SEEING.known
    for known, found in SEEING.known.items():
        slug, _, path = known[1:].partition(b"/")
        assert found.provider is not None
        assert (found.provider.slug, found.path) == (slug, path)
        assert (found.gateway, found.account, found.dialect) == ("default", None, None)


# -- gateways --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "header", "host", "gateway"),
    [
        (b"/openai/x", None, b"localhost:8080", "default"),
        (b"/openai/x", b"batch", b"localhost", "batch"),
        (b"/openai/x", b"default", b"staging.example", "default"),
        (b"/openai/x", None, b"staging.example", "staging"),
        (b"/openai/x", None, b"STAGING.example:8080", "staging"),
        (b"/openai/x", None, b"[::1]:8080", "staging"),
        (b"/openai/x", None, b"::1", "default"),
        (b"/openai/x", b"batch", b"staging.example", "batch"),
        (b"/v1/a/default/openai/x", b"batch", b"staging.example", "default"),
        (b"/openai/x", None, b"", "default"),
    ],
)
def test_a_gateway_is_named_by_path_then_field_then_host(target, header, host, gateway):
    assert find(target, header, host).gateway == gateway


@pytest.mark.parametrize(
    ("target", "header", "surface"),
    [
        (b"/openai/x", b"nightly", "openai"),
        (b"/openai/x", b"Batch", "openai"),
        (b"/openai/x", b"", "openai"),
        (b"/v1/acc/nightly/openai/x", None, "cloudflare"),
    ],
)
def test_an_unknown_gateway_is_refused_with_the_names_there_are(target, header, surface):
    refused = fault(target, header)
    assert (refused.code, refused.surface) == ("unknown_gateway", surface)
    assert "there is: default, staging, batch" in refused.message


# -- targets that lead nowhere ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "near"),
    [
        (b"/opnai/v1/models", "openai"),
        (b"/OpenAI/v1/models", "openai"),
        (b"/openai%2Fv1/models", "openai"),
        (b"/gemini-ai-studio/x", "google-ai-studio"),
        (b"/min", "mine"),
    ],
)
def test_an_unknown_provider_is_told_the_nearest_and_how_to_add_one(target, near):
    refused = fault(target)
    assert (refused.code, refused.surface) == ("unknown_provider", "plain")
    assert f'did you mean "{near}"?' in refused.message
    assert "[providers.NAME]" in refused.message


def test_a_slug_with_an_escape_in_it_is_no_slug():
    assert fault(b"/open%61i/x").code == "unknown_provider"


def test_a_name_like_none_other_gets_no_suggestion():
    assert "did you mean" not in fault(b"/zzzzzz/x").message


def test_an_unknown_provider_in_cloudflares_form_is_told_where_it_was_read():
    refused = fault(b"/v1/acc/default/opnai/x")
    assert (refused.code, refused.surface) == ("unknown_provider", "cloudflare")
    assert "/v1/{account}/{gateway}/{provider}/" in refused.message
    assert 'did you mean "openai"?' in refused.message


@pytest.mark.parametrize(
    "target",
    [
        b"/v1",
        b"/v1/",
        b"/v1/chat/completions",
        b"/v1/acc/default",
        b"/v1//default/openai",
        b"/v1?x=/y",
        b"/v1beta/models/m:g",
        b"/compat/chat/completions",
        b"/prompts/x",
        b"/api/reload",
    ],
)
def test_a_reserved_path_that_nobody_serves_says_so(target):
    refused = fault(target)
    assert refused.code == "no_route"
    assert "no plugin that is enabled here" in refused.message


@pytest.mark.parametrize("target", [b"/v1/v1/chat/completions", b"/v1/v1", b"/v1/v1/x/openai/y"])
def test_a_doubled_v1_is_named_as_the_mistake(target):
    refused = fault(target)
    assert refused.code == "doubled_v1"
    assert "base URL" in refused.message


@pytest.mark.parametrize("target", [b"", b"/", b"//", b"//openai/x", b"*", b"openai/x", b"?x"])
def test_a_target_without_a_first_segment_is_told_the_form(target):
    assert "must begin with a provider's name" in fault(target).message


def test_absolute_form_is_no_path_even_if_a_provider_seems_to_follow():
    assert fault(b"xopenai/y").code == "no_route"


def test_a_long_slug_is_cut_in_the_message():
    assert len(fault(b"/" + b"x" * 60_000).message) < 300


@given(st.binary(max_size=200), st.none() | st.binary(max_size=20), st.binary(max_size=40))
def test_whatever_comes_is_found_or_refused(target, header, host):
    for shaped in (target, b"/" + target, b"/v1/" + target, b"/openai" + target):
        try:
            found = TABLE.find(shaped, header, host)
        except NoRoute:
            continue
        assert shaped.endswith(found.path)


# -- plugins' routes -------------------------------------------------------------------------------

UNIFIED = Route("/v1/chat/completions", "openai", "openai")
MESSAGES = Route("/v1/messages/*", "anthropic", "anthropic")
BATCHES = Route("/v1/messages/batches/*", "anthropic", "plain")
COMPAT = Route("/compat/*", "openai", "openai")
PAGE = Route("/hello")


@pytest.mark.parametrize(
    ("target", "path", "surface", "dialect"),
    [
        (b"/v1/chat/completions", b"v1/chat/completions", "openai", "openai"),
        (b"/v1/chat/completions?x=/y", b"v1/chat/completions?x=/y", "openai", "openai"),
        (b"/v1/messages/count", b"v1/messages/count", "anthropic", "anthropic"),
        (b"/v1/messages/batches/7", b"v1/messages/batches/7", "plain", "anthropic"),
        (b"/compat/chat/completions", b"compat/chat/completions", "openai", "openai"),
        (b"/hello", b"hello", "plain", None),
    ],
)
def test_a_plugins_route_enters_the_line_without_a_provider(target, path, surface, dialect):
    found = find(target, routes=table(BATCHES, MESSAGES, UNIFIED, COMPAT, PAGE))
    assert found.provider is None
    assert (found.path, found.surface, found.dialect) == (path, surface, dialect)
    assert found.gateway == "default"


def test_a_plugins_route_wins_over_cloudflares_form():
    found = find(b"/v1/messages/default/openai/x", routes=table(MESSAGES))
    assert found.provider is None


def test_a_plugins_route_is_found_below_cloudflares_form_too():
    target = b"/v1/acc/staging/compat/chat/completions?x"
    found = find(target, routes=table(COMPAT))
    assert (found.provider, found.path) == (None, b"compat/chat/completions?x")
    assert (found.account, found.gateway, found.surface) == ("acc", "staging", "openai")


def test_a_plugins_route_has_the_gateway_that_the_field_names():
    assert find(b"/v1/chat/completions", b"batch", routes=table(UNIFIED)).gateway == "batch"


@pytest.mark.parametrize("target", [b"/v1/chat/completions/", b"/v1/chat", b"/hello/x", b"/compat"])
def test_a_route_is_only_what_its_pattern_says(target):
    fault(target, routes=table(UNIFIED, COMPAT, PAGE))


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("hello", "wanted a path"),
        ("/", "wanted a path"),
        ("/*", "wanted a path"),
        ("", "wanted a path"),
        ("/a*", "wanted a path"),
        ("/a/*/b", "wanted a path"),
        ("/a?b", "wanted a path"),
        ("/openai/x", "the provider of that name"),
        ("/v1/chat/completions", "serves it already"),
        ("/compat/*", "serves it already"),
    ],
)
def test_a_route_that_could_not_work_stops_the_start(pattern, why):
    routes = table(UNIFIED, COMPAT)
    with pytest.raises(StartError, match=why):
        routes.add_route(Route(pattern))

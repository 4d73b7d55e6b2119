"""The caller's credential for the gateway is found wherever it may stand, and stays here."""

from __future__ import annotations

import pytest

from gateway import CallerFault, consume, credential_of, hookimpl, is_known, unauthorized
from gateway.bearer import Guard
from gateway.testing import exchange, plan_of, run

KEY = b"weir_abcdefghijklmnop"
OTHER = b"sk-of-the-provider"
BEARER = (b"Authorization", b"Bearer " + KEY)


class Plugin:
    """Knows one key, and takes whatever begins like it."""

    identifies = True

    @hookimpl
    def authenticate(self, exchange):
        shown = credential_of(exchange)
        if shown is None or is_known(exchange) or not shown.startswith(b"weir_"):
            return
        if shown != KEY:
            raise unauthorized("There is no such key.")
        exchange.known().key_id = "key-1"
        consume(exchange, shown)


class Another(Plugin):
    """Knows nobody, and tells its own by their beginning."""

    @hookimpl
    def authenticate(self, exchange): ...

    def owns(self, exchange, credential):
        return credential.startswith(b"own-")


@pytest.mark.parametrize(
    "fields",
    [
        [BEARER],
        [(b"authorization", b"bearer  " + KEY + b" ")],
        [(b"X-API-Key", KEY)],
        [(b"api-key", KEY)],
        [(b"x-goog-api-key", KEY)],
        [(b"weir-authorization", KEY)],
        [(b"weir-authorization", b"Bearer " + KEY)],
        [(b"cf-aig-authorization", b"Bearer " + KEY)],
        [(b"weir-authorization", KEY), (b"Authorization", b"Bearer " + OTHER)],
        [(b"X-API-Key", OTHER), BEARER],
        [(b"Authorization", b"Bearer"), (b"X-API-Key", KEY)],
        [(b"Authorization", b"Basic " + OTHER), (b"X-API-Key", KEY)],
    ],
)
def test_a_credential_is_found_where_clients_put_it(fields):
    assert credential_of(exchange(headers=fields)) == KEY


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [(b"Authorization", b"Bearer ")],
        [(b"Authorization", KEY)],
        [(b"x-api-key", b" ")],
        [(b"weir-authorization", b""), BEARER],
    ],
)
def test_what_is_empty_or_of_another_scheme_is_none(fields):
    assert credential_of(exchange(headers=fields)) is None


@pytest.mark.parametrize("query", [b"?key=", b"?alt=sse&key=", b"?monkey=1&key="])
def test_a_credential_is_found_in_the_query(query):
    assert credential_of(exchange(path=b"v1/models" + query + KEY)) == KEY


def test_a_parameter_of_a_longer_name_is_none():
    assert credential_of(exchange(path=b"v1/models?monkey=" + KEY)) is None


@pytest.mark.parametrize(
    ("path", "left"),
    [
        (b"v1/models?key=%b", b"v1/models"),
        (b"v1/models?alt=sse&key=%b", b"v1/models?alt=sse"),
        (b"v1/models?key=%b&alt=sse&key=%b", b"v1/models?alt=sse"),
        (b"v1/models?key=%b&key=mine", b"v1/models?key=mine"),
    ],
)
def test_a_credential_in_the_query_does_not_go_up(upstream, path, left):
    asked = exchange(b"GET", path.replace(b"%b", KEY))
    assert run(plan_of(Plugin()), asked, upstream).status == 200
    assert upstream.requests[-1].target == b"/" + left
    assert asked.target == b"/openai/" + left


def test_it_goes_up_from_no_field_that_holds_it_and_others_pass(upstream):
    fields = [
        (b"X-Api-Key", KEY),
        BEARER,
        (b"weir-authorization", KEY),
        (b"api-key", OTHER),
        (b"X-Other", b"1"),
    ]
    ran = run(plan_of(Plugin()), exchange(headers=fields), upstream)
    assert (ran.status, ran.exchange.known().key_id) == (200, "key-1")
    request = upstream.requests[-1]
    assert [pair for pair in request.fields if pair[0] != b"Host"] == fields[3:]
    assert KEY not in request.head


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ([], b"missing_credential", b"send it as"),
        ([(b"Authorization", b"Bearer " + OTHER)], b"invalid_credential", b"is none that"),
        ([(b"Authorization", b"Bearer weir_no")], b"invalid_credential", b"There is no such key."),
    ],
)
@pytest.mark.parametrize("plugins", [(Plugin(),), (Plugin(), Another()), (Another(), Plugin())])
def test_whom_nobody_knows_is_refused(upstream, fields, code, said, plugins):
    upstream.forget()
    ran = run(plan_of(*plugins), exchange(headers=fields), upstream)
    assert (ran.status, ran.exchange.outcome) == (401, "refused")
    assert code in ran.body
    assert said in ran.body
    assert ran.get(b"www-authenticate") == b"Bearer"
    assert OTHER not in ran.raw
    assert not upstream.requests


@pytest.mark.parametrize("plugins", [(Plugin(), Another()), (Another(), Plugin())])
def test_one_who_knows_the_caller_is_enough(upstream, plugins):
    assert run(plan_of(*plugins), exchange(headers=[BEARER]), upstream).status == 200


@pytest.mark.parametrize("plugins", [(Plugin(), Another()), (Another(), Plugin())])
def test_what_another_says_is_its_own_does_not_go_up_either(upstream, plugins):
    for first in (b"own-1", OTHER):
        fields = [(b"weir-authorization", KEY), (b"Authorization", b"Bearer " + first)]
        path = b"v1/models?key=" + first
        made = exchange(b"GET", path, headers=[*fields, (b"api-key", b"own-2")])
        assert run(plan_of(*plugins), made, upstream).status == 200
        head = upstream.requests[-1].head
        assert (b"own-2" in head, head.count(first)) == (False, 0 if first == b"own-1" else 2)


def test_metadata_alone_is_nobody():
    made = exchange()
    made.known().metadata = {"team": "search"}
    assert not is_known(made)
    with pytest.raises(CallerFault):
        Guard(()).check(made)

"""The providers: where each sends what, whose key goes along, and what is wrong with a table."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trustme

from gateway.config import Config, ProviderConfig
from gateway.convert import ConfigErrors
from gateway.dialects import anthropic, gemini, openai, openai_responses
from gateway.errors import CallerFault
from gateway.providers import Provider, build, built_in_names
from gateway.proxies import ProxyUrl
from gateway.rows import built_in
from gateway.secret import Secret
from gateway.units import parse_duration

STATE = Path("/state")


def providers(
    tables: dict[str, ProviderConfig] | None = None, environ: dict[str, str] | None = None
) -> dict[str, Provider]:
    return build(Config(providers=tables or {}), STATE, environ or {})


def one(name: str, **table) -> Provider:
    return providers({name: ProviderConfig(**table)})[name]


def batched(words: list[str]) -> list[tuple[str, str]]:
    return list(zip(words[::2], words[1::2], strict=True))


def url(provider: Provider, path: bytes, account: str | None = None) -> str:
    origin, upward = provider.locate(path, account)
    scheme = "https" if origin.tls else "http"
    return f"{scheme}://{origin.host_header.decode()}{upward.decode()}"


def errors(**tables: ProviderConfig) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        providers(tables)
    return [str(problem) for problem in caught.value.problems]


# A path as the caller sends it, and below it the URL that it stands for with the account "acc".
ADDRESSES = """
openai/chat/completions
    https://api.openai.com/v1/chat/completions
openai/v1/chat/completions
    https://api.openai.com/v1/chat/completions
anthropic/v1/messages?beta=true
    https://api.anthropic.com/v1/messages?beta=true
google-ai-studio/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse
    https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse
google-vertex-ai/v1/projects/p.x:y/locations/europe-west4/publishers/google/models/m
    https://europe-west4-aiplatform.googleapis.com/v1/projects/p.x:y/locations/europe-west4/publishers/google/models/m
google-vertex-ai/v1/projects/p.x:y/locations/global/publishers/google/models/m:g
    https://aiplatform.googleapis.com/v1/projects/p.x:y/locations/global/publishers/google/models/m:g
google-vertex-ai/v1/projects/p/locations/us/publishers/anthropic/models/m:rawPredict
    https://aiplatform.us.rep.googleapis.com/v1/projects/p/locations/us/publishers/anthropic/models/m:rawPredict
google-vertex-ai/v1beta1/publishers/google/models/m:generateContent?key=k
    https://aiplatform.googleapis.com/v1beta1/publishers/google/models/m:generateContent?key=k
aws-bedrock/bedrock-runtime/us-east-1/model/a.b-v1%3A0/converse-stream
    https://bedrock-runtime.us-east-1.amazonaws.com/model/a.b-v1%3A0/converse-stream
aws-bedrock/bedrock-mantle/eu-west-1/anthropic/v1/messages
    https://bedrock-mantle.eu-west-1.api.aws/anthropic/v1/messages
azure-openai/res/gpt-4.1/chat/completions?api-version=2024-10-21
    https://res.openai.azure.com/openai/deployments/gpt-4.1/chat/completions?api-version=2024-10-21
azure-openai/res/openai/deployments/gpt-4.1/chat/completions?api-version=1
    https://res.openai.azure.com/openai/deployments/gpt-4.1/chat/completions?api-version=1
azure-openai/res/openai/v1/responses
    https://res.openai.azure.com/openai/v1/responses
workers-ai/@cf/meta/llama-3.1-8b-instruct
    https://api.cloudflare.com/client/v4/accounts/acc/ai/run/@cf/meta/llama-3.1-8b-instruct
workers-ai/run/@cf/meta/llama
    https://api.cloudflare.com/client/v4/accounts/acc/ai/run/@cf/meta/llama
workers-ai/v1/chat/completions
    https://api.cloudflare.com/client/v4/accounts/acc/ai/v1/chat/completions
groq/chat/completions
    https://api.groq.com/openai/v1/chat/completions
groq/v1/models
    https://api.groq.com/openai/v1/models
groq/openai/v1/models
    https://api.groq.com/openai/v1/models
mistral/v1/chat/completions
    https://api.mistral.ai/v1/chat/completions
cohere/v2/chat
    https://api.cohere.com/v2/chat
cohere/v1/chat
    https://api.cohere.com/v1/chat
cohere/chat
    https://api.cohere.com/v1/chat
cohere/compatibility/v1/chat/completions
    https://api.cohere.com/compatibility/v1/chat/completions
perplexity-ai/chat/completions
    https://api.perplexity.ai/chat/completions
deepseek/chat/completions
    https://api.deepseek.com/chat/completions
grok/v1/messages
    https://api.x.ai/v1/messages
grok/chat/completions
    https://api.x.ai/v1/chat/completions
cerebras/v1/chat/completions
    https://api.cerebras.ai/v1/chat/completions
openrouter/chat/completions
    https://openrouter.ai/api/v1/chat/completions
openrouter/v1/chat/completions
    https://openrouter.ai/api/v1/chat/completions
openrouter/api/v1/models
    https://openrouter.ai/api/v1/models
baseten/v1/chat/completions
    https://inference.baseten.co/v1/chat/completions
baseten/model/abc123
    https://model-abc123.api.baseten.co/production/predict
parallel/v1beta/search
    https://api.parallel.ai/v1beta/search
huggingface/v1/chat/completions
    https://router.huggingface.co/v1/chat/completions
huggingface/together/v1/chat/completions
    https://router.huggingface.co/together/v1/chat/completions
huggingface/meta-llama/Llama-3.1-8B
    https://router.huggingface.co/hf-inference/models/meta-llama/Llama-3.1-8B
huggingface/a/b/pipeline/feature-extraction
    https://router.huggingface.co/hf-inference/models/a/b/pipeline/feature-extraction
replicate/predictions
    https://api.replicate.com/v1/predictions
fal/fal-ai/fast-sdxl
    https://fal.run/fal-ai/fast-sdxl
cartesia/tts/bytes
    https://api.cartesia.ai/tts/bytes
elevenlabs/v1/text-to-speech/v/stream
    https://api.elevenlabs.io/v1/text-to-speech/v/stream
deepgram/v1/listen?model=nova-3
    https://api.deepgram.com/v1/listen?model=nova-3
ollama/v1/chat/completions
    http://127.0.0.1:11434/v1/chat/completions
ollama/api/chat
    http://127.0.0.1:11434/api/chat
vllm/v1/chat/completions
    http://127.0.0.1:8000/v1/chat/completions
mock/v1/messages
    http://mock/v1/messages
"""


@pytest.mark.parametrize(("path", "expected"), batched(ADDRESSES.split()))
def test_each_built_in_provider_is_found_at_its_own_address(path, expected):
    name, _, rest = path.partition("/")
    assert url(providers()[name], rest.encode(), "acc") == expected


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b"?",
        b"?a=b",
        b"x",
        b"x/",
        b"x?",
        b"x//y///",
        b"/x",
        b"x%2Fy%2f",
        b"x;y=z,w",
        b"a/../b/./c",
        b"x?q=%00&a=../../..",
        b"x?a?b#c".replace(b"#", b"%23"),
        b"\xc3\xa4/\xff",
        b"models/a%3Ab",
    ],
)
def test_a_path_goes_up_byte_for_byte(path):
    provider = one("mine", base_url="http://a.example/base/")
    expected = b"/base" + (path if path[:1] in (b"", b"?") else b"/" + path)
    assert provider.locate(path, None)[1] == expected


def test_a_base_url_without_a_path_still_gives_one():
    provider = one("mine", base_url="http://a.example")
    assert [provider.locate(path, None)[1] for path in (b"", b"?x", b"x")] == [b"/", b"/?x", b"/x"]


@pytest.mark.parametrize("path", [b"../x", b"%2e%2e/x", b"a/../../x", b"..%2fx", b"v1/../../x"])
@pytest.mark.parametrize("name", ["openai", "anthropic", "cohere", "workers-ai", "baseten"])
def test_no_path_climbs_out_of_its_providers_base(name, path):
    with pytest.raises(CallerFault, match="dot segments") as caught:
        providers()[name].locate(path, "acc")
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("openai", b"v1/v1/chat/completions"),
        ("anthropic", b"v1/v1/messages"),
        ("groq", b"openai/v1/v1/models"),
        ("groq", b"v1/v1/models"),
        ("cohere", b"v1/v1/chat"),
        ("mock", b"v1/v1/chat/completions"),
    ],
)
def test_a_doubled_v1_is_named_as_the_mistake(name, path):
    with pytest.raises(CallerFault, match="/v1 twice") as caught:
        providers()[name].locate(path, None)
    assert (caught.value.status, caught.value.code) == (404, "doubled_v1")


def test_without_strip_v1_the_base_urls_own_v1_doubles_too():
    plain = one("mine", base_url="http://a.example/v1")
    stripping = one("mine", base_url="http://a.example/v1", strip_v1=True)
    assert url(plain, b"models") == "http://a.example/v1/models"
    with pytest.raises(CallerFault, match="set strip_v1"):
        plain.locate(b"v1/models", None)
    assert url(stripping, b"v1/models") == "http://a.example/v1/models"


def test_strip_v1_does_nothing_where_the_base_url_does_not_end_in_it():
    provider = one("openai", base_url="http://127.0.0.1:9/base")
    assert url(provider, b"v1/models") == "http://127.0.0.1:9/base/v1/models"


@pytest.mark.parametrize("path", [b"v1beta/models", b"v1", b"v10/x", b"V1/x"])
def test_only_a_whole_v1_segment_is_dropped(path):
    assert providers()["openai"].locate(path, None)[1] == b"/v1/" + path


def test_a_path_that_names_no_place_is_told_the_forms():
    with pytest.raises(CallerFault) as caught:
        providers()["azure-openai"].locate(b"chat", None)
    assert (caught.value.status, caught.value.code) == (404, "bad_path")
    assert "/azure-openai/{resource}/*" in caught.value.message


def test_ones_own_base_url_replaces_the_address_that_the_path_would_choose():
    provider = one("azure-openai", base_url="https://mine.example/openai/deployments")
    assert url(provider, b"gpt/chat") == "https://mine.example/openai/deployments/gpt/chat"


def test_an_account_in_ones_own_base_url_needs_no_other():
    provider = one("workers-ai", base_url="https://api.example/accounts/me/ai")
    assert url(provider, b"@cf/x") == "https://api.example/accounts/me/ai/run/@cf/x"


def test_ones_own_base_url_may_hold_the_account():
    provider = one("mine", base_url="https://api.example/{account}/ai")
    assert url(provider, b"x/y", "acc") == "https://api.example/acc/ai/x/y"


def test_an_address_is_prepared_once():
    provider = providers()["openai"]
    assert provider.locate(b"a", None)[0] is provider.locate(b"b", None)[0]


# -- dialects, limits, sockets ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "path", "dialect"),
    [
        ("openai", b"chat/completions", openai),
        ("openai", b"v1/responses", openai_responses),
        ("grok", b"v1/messages", anthropic),
        ("google-ai-studio", b"v1beta/models/m:generateContent", gemini),
        ("google-vertex-ai", b"v1/projects/p/locations/l/publishers/anthropic/models/m", anthropic),
        ("mock", b"v1beta/models/m:streamGenerateContent?alt=sse", gemini),
        ("mock", b"v1/messages", anthropic),
        ("deepgram", b"v1/listen", None),
    ],
)
def test_a_format_is_chosen_by_row_and_path(name, path, dialect):
    assert providers()[name].dialect_at(path) is dialect


def test_timeouts_and_limits_come_from_the_table():
    provider = one(
        "openai",
        connect_timeout=parse_duration("1s"),
        first_byte_timeout=parse_duration("2s"),
        idle_timeout=parse_duration("3s"),
        connections_max=4,
    )
    assert provider.connect_timeout == 1_000_000_000
    assert provider.first_byte_timeout == 2_000_000_000
    assert provider.idle_timeout == 3_000_000_000
    assert provider.connections_max == 4


def test_the_mock_provider_is_on_a_socket_of_this_process():
    origin, _ = providers()["mock"].locate(b"x", None)
    assert origin.socket == f"/state/mock-{os.getpid()}.sock"


def test_a_table_sets_socket_and_certificates(tmp_path):
    ca_file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(ca_file))
    provider = one("mine", base_url="https://a.example", socket="/run/a.sock", ca_file=str(ca_file))
    origin, _ = provider.locate(b"x", None)
    assert (origin.socket, origin.ca_file) == ("/run/a.sock", str(ca_file))


def test_a_table_sets_a_client_certificate(tmp_path):
    file = tmp_path / "client.pem"
    trustme.CA().issue_cert("a").private_key_and_cert_chain_pem.write_to_path(str(file))
    provider = one("mine", base_url="https://a.example", client_cert=str(file))
    origin, _ = provider.locate(b"x", None)
    assert (origin.client_cert, origin.client_key) == (str(file), None)


# -- proxies ---------------------------------------------------------------------------------------

ENVIRON = {"HTTPS_PROXY": "http://env:1", "http_proxy": "http://plain:1", "NO_PROXY": "b.example"}


def chosen(url: str) -> ProxyUrl:
    return ProxyUrl(url, {})


@pytest.mark.parametrize(
    ("base_url", "main", "own", "expected"),
    [
        ("https://a.example", None, None, "env:1"),
        ("http://a.example", None, None, "plain:1"),
        ("https://b.example", None, None, None),
        ("http://localhost:8000", None, None, None),
        ("https://a.example", "http://main:1", None, "main:1"),
        ("https://b.example", "http://main:1", None, None),
        ("https://a.example", "", None, None),
        ("https://a.example", "http://main:1", "http://own:1", "own:1"),
        ("https://b.example", None, "http://own:1", "own:1"),
        ("http://127.0.0.1:8000", None, "http://own:1", "own:1"),
        ("https://a.example", None, "", None),
        ("https://a.example", "http://main:1", "", None),
    ],
)
def test_the_nearest_word_about_a_proxy_counts(base_url, main, own, expected):
    table = ProviderConfig(base_url=base_url, proxy=None if own is None else chosen(own))
    config = Config(providers={"mine": table}, proxy=None if main is None else chosen(main))
    origin, _ = build(config, STATE, ENVIRON)["mine"].locate(b"x", None)
    assert (origin.proxy and origin.proxy.key) == expected


def test_a_host_that_the_path_names_has_its_proxy_too():
    provider = providers(environ={"HTTPS_PROXY": "http://env:1", "NO_PROXY": "b.openai.azure.com"})
    found = [
        provider["azure-openai"].locate(b"%b/openai/v1/models" % name, None)[0].proxy
        for name in (b"a", b"b")
    ]
    assert [proxy and proxy.key for proxy in found] == ["env:1", None]


def test_a_unix_socket_has_no_proxy_and_its_table_cannot_ask_for_one():
    def table(proxy: ProxyUrl | None = None) -> ProviderConfig:
        return ProviderConfig(base_url="http://a.example", socket="/run/a.sock", proxy=proxy)

    provider = providers({"mine": table()}, {"http_proxy": "http://env:1"})["mine"]
    assert provider.locate(b"x", None)[0].proxy is None
    (text,) = errors(mine=table(chosen("http://own:1")))
    assert text.startswith("[providers.mine] proxy: no proxy leads to a Unix socket")
    assert providers({"mine": table(chosen(""))})["mine"].origin is not None


def test_a_proxy_of_the_environment_that_cannot_be_used_is_told_with_its_variable():
    environ = {"HTTPS_PROXY": "https://user:open-sesame@p.example"}
    with pytest.raises(ConfigErrors) as caught:
        providers({}, environ)
    (problem,) = caught.value.problems
    assert str(problem).startswith("HTTPS_PROXY: proxy: a proxy that is itself spoken to over TLS")
    assert "sesame" not in str(problem)


# -- keys ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "variable", "field"),
    [
        ("openai", "OPENAI_API_KEY", (b"authorization", b"Bearer k-123456")),
        ("anthropic", "ANTHROPIC_API_KEY", (b"x-api-key", b"k-123456")),
        ("google-ai-studio", "GOOGLE_API_KEY", (b"x-goog-api-key", b"k-123456")),
        ("google-ai-studio", "GEMINI_API_KEY", (b"x-goog-api-key", b"k-123456")),
        ("azure-openai", "AZURE_OPENAI_API_KEY", (b"api-key", b"k-123456")),
        ("fal", "FAL_KEY", (b"authorization", b"Key k-123456")),
        ("deepgram", "DEEPGRAM_API_KEY", (b"authorization", b"Token k-123456")),
        ("elevenlabs", "ELEVENLABS_API_KEY", (b"xi-api-key", b"k-123456")),
    ],
)
def test_a_key_is_found_in_its_usual_variable_and_sent_as_its_provider_wants_it(
    name, variable, field
):
    provider = providers(environ={variable: "k-123456"})[name]
    assert provider.api_key is not None
    assert provider.credential.field(provider.api_key) == field


def test_of_several_variables_the_first_that_is_set_counts():
    both = providers(environ={"GEMINI_API_KEY": "first", "GOOGLE_API_KEY": "second"})
    key = both["google-ai-studio"].api_key
    assert key == b"first"


def test_a_key_that_is_not_there_is_missing_under_its_first_name():
    key = providers()["google-ai-studio"].api_key
    assert key is not None
    assert (key.missing, key.reference) == (True, "env:GEMINI_API_KEY")


def test_a_provider_without_a_key_has_none():
    assert providers()["ollama"].api_key is None


def test_a_tables_key_goes_before_the_rows():
    tables = {"openai": ProviderConfig(api_key=Secret(b"mine"))}
    assert providers(tables, {"OPENAI_API_KEY": "usual"})["openai"].api_key == b"mine"


def test_what_counts_as_the_callers_own_credential_is_the_rows_word():
    made = providers()
    assert made["openai"].caller_fields == {b"authorization"}
    assert made["anthropic"].caller_fields == {b"authorization", b"x-api-key"}
    assert made["google-ai-studio"].caller_fields == {b"authorization", b"x-goog-api-key"}
    assert made["google-ai-studio"].caller_queries == (b"?key=", b"&key=")
    assert b"?key=" in made["azure-openai"].caller_queries


def test_a_credential_of_ones_own_counts_as_the_callers_too():
    provider = one("mine", base_url="http://a.example", credential="X-Key: {key}")
    assert provider.caller_fields == {b"x-key"}


# -- what is wrong ---------------------------------------------------------------------------------


def test_the_names_of_the_built_in_providers_are_given():
    assert set(built_in_names()) == set(built_in())


HOST = "http://a.example"


@pytest.mark.parametrize(
    ("name", "table", "expected"),
    [
        ("mistral", {"dialect": "mistrall"}, 'dialect: unknown dialect "mistrall"'),
        ("one", {"base_url": HOST, "dialect": "no.such:x"}, 'dialect: dialect "no.such:x" cannot'),
        ("one", {"base_url": HOST, "credential": "x: y"}, 'credential: wanted "FIELD: {key}"'),
        ("one", {"base_url": "https://{region}.example/{account}"}, "base_url: nothing fills {reg"),
        ("one", {"base_url": HOST, "ca_file": "/no/such"}, "ca_file: no such file: /no/such"),
        ("one", {"base_url": HOST, "client_key": __file__}, "client_key: has no client_cert besi"),
        ("one", {"base_url": HOST, "client_cert": __file__}, "client_cert: wanted a certificate"),
        ("azure-openai", {"warm": 1}, "warm: wanted a base_url without places"),
        ("one", {"base_url": "gopher://a.example"}, "base_url: wanted an http:// or https:// URL"),
    ],
)
def test_a_fault_of_a_table_names_provider_and_key(name, table, expected):
    (text,) = errors(**{name: ProviderConfig(**table)})
    assert text.startswith(f"[providers.{name}] {expected}")


def test_a_new_provider_without_a_base_url_was_perhaps_meant_to_be_a_known_one():
    (text,) = errors(opnai=ProviderConfig(dialect="openai"))
    assert text.startswith("[providers] opnai: missing")
    assert text.endswith("a new one needs a base_url; did you mean openai?")


def test_everything_that_is_wrong_is_told_at_once():
    found = errors(
        opnai=ProviderConfig(),
        mistral=ProviderConfig(dialect="mistrall", credential="x: y"),
        two=ProviderConfig(base_url="gopher://a.example", dialect="opena"),
    )
    assert len(found) == 5


def test_the_built_in_rows_are_without_fault_and_have_no_place_that_nothing_fills():
    assert set(providers()) == set(built_in())

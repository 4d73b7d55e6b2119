from __future__ import annotations

import orjson
import pytest
from click.testing import CliRunner, Result

from gateway.cli import main


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("prices")
    file = folder / "weir.toml"
    file.write_text(
        f'state_dir = "{folder}/state"\nenabled = []\n'
        '[[plugins.cost.models]]\nprovider = "openai"\nmodel = "our-*"\n'
        'input = "0.10"\noutput = 2\naudio_hour = 0.36\n'
        "tiers = [{ above = 1000, input = 0.2 }]\nflex = { input = 0.05 }\n"
    )
    return str(file)


def show(config: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["prices", "show", *arguments, "--config", config])


def test_a_price_is_shown_by_tier_and_lane_with_its_source(config):
    result = show(config, "our-model", "--provider", "openai")

    assert result.exit_code == 0, result.output
    assert [line.split() for line in result.output.splitlines()] == [
        ["our-model", "of", "openai,", "by", "config"],
        ["dollars", "for", "usual", "above", "1000", "flex", "flex", "above", "1000"],
        ["input", "1M", "tokens", "0.1", "0.2", "0.05", "0.2"],
        ["output", "1M", "tokens", "2", "2", "2", "2"],
        ["audio_hour", "hour", "0.36", "0.36", "0.36", "0.36"],
    ]


def test_without_a_provider_all_are_shown_that_have_the_model(config):
    result = show(config, "claude-sonnet-4-5", "--json")

    assert result.exit_code == 0, result.output
    found = {one["provider"]: one for one in orjson.loads(result.output)["prices"]}
    assert {"anthropic", "google-vertex-ai", "azure-openai"} <= found.keys()
    anthropic = found["anthropic"]
    assert anthropic["source"].startswith("genai-prices ")
    assert anthropic["usd"]["cache_write_1h"] == "6"
    assert anthropic["tiers"][0]["above"] == 200_000
    assert anthropic["lanes"]["batch"]["usd"]["input"] == "1.5"


def test_an_unknown_model_is_an_error_that_names_the_nearest(config):
    result = show(config, "gpt-5o", "--provider", "openai")
    assert result.exit_code == 1
    assert "No table has a price for gpt-5o; did you mean" in result.output
    assert "gpt-5" in result.output

    document = orjson.loads(show(config, "gpt-5o", "--json").output)
    assert document["prices"] == []
    assert "gpt-4o" in document["near"]


def test_weir_lists_the_command():
    assert "prices" in CliRunner().invoke(main, ["--help"]).output

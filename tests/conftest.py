"""What all tests share: the switch to full sizes, servers, and the summary's lines on the SDKs that
ran.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import hypothesis
import pytest

from gateway.testing import ScriptedUpstream, answers
from tests.postgres_server import PostgresServer, postgres_server
from tests.redis_server import RedisServer, redis_server

NODE_MODULES = Path(__file__).parent / "sdk" / "node_modules"
INSTALLED = NODE_MODULES / ".package-lock.json"  # npm writes it last

# Time is measured where it matters, not by hypothesis on a busy machine.
hypothesis.settings.register_profile("test", deadline=None, max_examples=100)
hypothesis.settings.register_profile("battery", deadline=None, max_examples=5_000)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--battery", action="store_true", help="run the long tests at full size")


def pytest_configure(config: pytest.Config) -> None:
    hypothesis.settings.load_profile("battery" if config.getoption("--battery") else "test")
    config.pluginmanager.register(Sdks(), "sdks")


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    """Give an upstream that answers `{}` to all, where a test wants no other script."""
    with ScriptedUpstream(answers()) as upstream:
        yield upstream


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Give a PostgreSQL server; each test makes its own database."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def redis_store() -> Iterator[RedisServer]:
    """Give a Redis server to share; what a test freezes or kills is its own."""
    with redis_server() as server:
        yield server


class Sdks:
    """Follow the tests marked `sdk(name, registry)` and say at the end which of them ran.

    Without node the npm ones cannot run: they are left out and named, but with CI=true they stay
    and fail.
    """

    def __init__(self) -> None:
        self.of_test: dict[str, tuple[str, str]] = {}
        self.ran: dict[tuple[str, str], bool] = {}
        self.left_out: set[tuple[str, str]] = set()

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        able = shutil.which("node") is not None and INSTALLED.is_file()
        strict = os.environ.get("CI") == "true"
        kept, dropped = [], []
        for item in items:
            mark = item.get_closest_marker("sdk")
            sdk = None if mark is None else (str(mark.args[0]), str(mark.args[1]))
            if sdk is not None and sdk[1] == "npm" and not able and not strict:
                self.left_out.add(sdk)
                dropped.append(item)
                continue
            if sdk is not None:
                self.of_test[item.nodeid] = sdk
            kept.append(item)
        if dropped:
            config.hook.pytest_deselected(items=dropped)
            items[:] = kept

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        sdk = self.of_test.get(report.nodeid)
        if sdk is not None and (report.when == "call" or report.failed):
            self.ran[sdk] = self.ran.get(sdk, True) and report.passed

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.ran and not self.left_out:
            return
        terminalreporter.section("official SDKs")
        for line in self.lines():
            terminalreporter.write_line(line)

    def lines(self) -> Iterator[str]:
        for (name, registry), passed in sorted(self.ran.items()):
            yield f"{registry} {name} {_version(name, registry)}: {'ok' if passed else 'FAILED'}"
        for name, registry in sorted(self.left_out):
            yield f"{registry} {name}: NOT RUN, node or its packages are missing here"


def _version(name: str, registry: str) -> str:
    if registry == "PyPI":
        return version(name)
    manifest = NODE_MODULES / name / "package.json"
    if not manifest.exists():
        return "(not installed)"
    return str(json.loads(manifest.read_text())["version"])

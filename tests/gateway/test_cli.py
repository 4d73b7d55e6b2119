from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli import COMMANDS, CONFIG_ERROR, main


def weir(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="weir")


def test_help_lists_every_command_with_its_line():
    result = weir("--help")
    assert result.exit_code == 0
    for name, line in COMMANDS.items():
        assert f"  {name:7}  {line}" in result.output
    assert "$WEIR_CONFIG" in result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_exists_under_its_name_and_has_help(name):
    for flag in ("--help", "-h"):
        result = weir(name, flag)
        assert result.exit_code == 0
        assert f"weir {name}" in result.output
    command = main.get_command(None, name)  # type: ignore[arg-type]
    assert command is not None
    assert command.name == name
    assert command.help is not None


def test_help_answers_at_once_and_loads_no_server():
    code = (
        "import sys, gateway.cli\n"
        "try: gateway.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'aiohttp', 'uvloop', 'httptools', 'gateway.server', 'gateway.plugins'}\n"
        "print(sorted(heavy & set(sys.modules)), [m for m in sys.modules if 'plugins.' in m])\n"
    )
    best = 60.0
    for _ in range(3):
        before = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
        )
        best = min(best, time.monotonic() - before)
        assert done.stdout.endswith("[] []\n")
    assert best < 0.5


def test_a_wrong_command_is_a_usage_error_with_the_right_one():
    result = weir("chek")
    assert result.exit_code == 2
    assert "No such command 'chek'. Did you mean 'check'?" in result.output


@pytest.mark.parametrize("arguments", [["nothing-like-it"], ["run", "--prot"], ["check", "extra"]])
def test_other_usage_errors_are_2_as_well(arguments):
    assert weir(*arguments).exit_code == 2


def test_without_a_command_the_help_is_shown():
    result = weir()
    assert result.exit_code == 2
    assert "Commands:" in result.output


@pytest.mark.parametrize("command", [["run"], ["check"], ["plugins"], ["config", "show"]])
def test_a_configuration_that_cannot_work_is_78_with_every_problem(command, tmp_path):
    file = tmp_path / "bad.toml"
    file.write_text("[server]\nprot = 1\n[limits]\nattempts_max = 0\n")
    result = weir(*command, "--config", str(file))
    assert result.exit_code == CONFIG_ERROR == 78
    assert f"{file}:2: [server] prot: no such key; did you mean port?" in result.output
    assert f"{file}:4: [limits] attempts_max: wanted a whole number" in result.output
    assert "Traceback" not in result.output


def test_errors_go_to_standard_error(tmp_path):
    result = weir("plugins", "--config", str(tmp_path / "none.toml"))
    assert result.stdout == ""
    assert result.stderr == f"{tmp_path}/none.toml: no such file\n"


def test_the_module_and_the_script_are_the_same_command():
    python = Path(sys.executable)
    commands = [[str(python), "-m", "gateway"], [str(python.with_name("weir"))]]
    outputs = [
        subprocess.run([*command, "version"], capture_output=True, check=True, timeout=60).stdout
        for command in commands
    ]
    assert outputs[0] == outputs[1]
    assert outputs[0].startswith(b"weir ")

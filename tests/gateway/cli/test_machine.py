"""What `weir doctor` sees of this machine."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from gateway.cli.machine import Check, checks, private
from gateway.config import Admin, Config, Limits, Server
from gateway.testing import ScriptedUpstream, answers, running_gateway


def look(config: Config) -> dict[str, Check]:
    return {check.check: check for check in asyncio.run(checks(config, 2.0))}


def config(folder, *, server_port: int = 0, admin_port: int = 0, host="127.0.0.1") -> Config:
    return Config(
        state_dir=str(folder / "state"),
        server=Server(host=host, port=server_port),
        admin=Admin(port=admin_port),
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_free_ports_are_ok_and_stay_free(tmp_path):
    port = free_port()
    found = look(config(tmp_path, server_port=port))

    assert (found["server.port"].state, found["server.port"].text) == (
        "ok",
        f"127.0.0.1:{port} is free",
    )
    assert found["admin.port"].state == "ok"
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_a_running_gateway_of_ours_is_no_fault(tmp_path):
    with running_gateway() as gateway:
        found = look(config(tmp_path, server_port=gateway.port, admin_port=gateway.admin_port))

    for name in ("server.port", "admin.port"):
        assert found[name].state == "ok"
        assert "a gateway of ours listens on" in found[name].text


def test_a_port_that_cannot_be_asked_plainly_is_judged_by_the_admin_port(tmp_path):
    with running_gateway(
        {"server": {"proxy_protocol": True, "trusted_proxies": ["10.0.0.0/8"]}}
    ) as gateway:
        found = look(
            Config(
                state_dir=str(tmp_path),
                server=Server(port=gateway.port, proxy_protocol=True),
                admin=Admin(port=gateway.admin_port),
            )
        )
        alone = look(
            Config(
                state_dir=str(tmp_path),
                server=Server(port=gateway.port, proxy_protocol=True),
                admin=Admin(port=0),
            )
        )

    assert found["server.port"].state == "ok"
    assert "by the gateway of the admin port" in found["server.port"].text
    assert alone["server.port"].state == "fail"


@pytest.mark.parametrize("body", [b"live\n", b"hello"])
def test_somebody_else_on_the_callers_port_is_a_failure_with_a_way_out(tmp_path, body):
    with ScriptedUpstream(answers(body)) as upstream:
        found = look(config(tmp_path, server_port=upstream.port, host="localhost"))

    assert found["server.port"].state == "fail"
    assert "held by something else; set another server.port" in found["server.port"].text


def test_an_address_of_another_machine_is_a_failure(tmp_path):
    found = look(config(tmp_path, server_port=free_port(), host="192.0.2.1"))

    assert found["server.port"].state == "fail"
    assert "set server.host to an address of this machine" in found["server.port"].text


def test_too_few_descriptors_are_a_warning(tmp_path):
    few = Config(state_dir=str(tmp_path), limits=Limits(connections_max=10))
    many = Config(state_dir=str(tmp_path), limits=Limits(connections_max=1_000_000_000))

    assert look(few)["descriptors"].state == "ok"
    assert look(many)["descriptors"].state == "warn"
    assert "limits.connections_max = 1000000000" in look(many)["descriptors"].text


def test_the_state_directory_is_made_later_or_its_owners_alone(tmp_path):
    assert "made at the first start" in look(config(tmp_path))["state_dir"].text
    (tmp_path / "state").mkdir(mode=0o700)
    assert look(config(tmp_path))["state_dir"].state == "ok"
    (tmp_path / "state").chmod(0o755)
    found = look(config(tmp_path))["state_dir"]
    assert (found.state, "chmod go= " in found.text) == ("warn", True)


def test_a_state_directory_that_cannot_be_is_a_failure(tmp_path):
    (tmp_path / "state").write_text("")
    found = look(config(tmp_path))["state_dir"]

    assert (found.state, "is no directory; set state_dir" in found.text) == ("fail", True)


def test_private_tells_of_what_is_there_and_open(tmp_path):
    paths = [tmp_path / name for name in ("shut", "open", "none")]
    for path, mode in zip(paths, (0o600, 0o604), strict=False):
        path.write_text("")
        os.chmod(path, mode)  # noqa: PTH101

    assert list(private(paths)) == [f"{paths[1]}: mode 0604 lets others in; chmod go= {paths[1]}"]

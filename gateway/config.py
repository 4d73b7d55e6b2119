"""The configuration: every key, its default and its meaning, as frozen structs.

Values arrive from `gateway.settings`; this file only says what there is. The line after a key's
name in a docstring is the meaning that `weir config schema` and config.toml show, and a test
holds config.toml against it. A plugin's own table stays raw here, because no plugin is imported
before the plan is built; `gateway.convert` turns it into the plugin's `Config` with the same
care.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from gateway.proxies import ProxyUrl
from gateway.secret import Secret
from gateway.units import Duration, Size, parse_duration, parse_size

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Workers = Annotated[int, msgspec.Meta(ge=1, le=256)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
CountOrNone = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
Table = Mapping[str, Any]


class Server(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The callers' listener.

    host: Address to listen on.
    port: Port to listen on; 0 takes any free one, printed at start.
    workers: Processes that serve the port; each has its own memory, connections and limits.
    header_prefixes: Prefixes of our own fields; answers use the request's, else the first.
    allowed_hosts: Host names served beside loopback names and the bound host; "*" is any.
    allowed_origins: Browser origins let in, such as "https://app.example.com"; "*" is any.
    cors_origins: The same, and their pages may read the answers (CORS); "*" is any.
    socket: A Unix socket to listen on as well; empty means none.
    socket_mode: The mode of its file, which says who may connect.
    tls_cert: A certificate and its chain (PEM); with it the port speaks TLS and nothing else.
    tls_key: Its key (PEM, not encrypted).
    trusted_proxies: Networks whose proxies say who calls, such as "10.0.0.0/8"; "unix" is socket.
    proxy_protocol: Trusted proxies begin each connection with a PROXY header (v1 or v2).
    drain_timeout: How long running exchanges may go on after SIGTERM.
    """

    host: str = "127.0.0.1"
    port: Port = 8080
    workers: Workers = 1
    header_prefixes: tuple[str, ...] = ("weir-", "cf-aig-")
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    socket: str = ""
    socket_mode: str = "0660"
    tls_cert: str = ""
    tls_key: str = ""
    trusted_proxies: tuple[str, ...] = ()
    proxy_protocol: bool = False
    drain_timeout: Duration = parse_duration("30s")


class Admin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The operator's listener: health, admin API, what plugins serve there.

    host: Address to listen on.
    port: Port to listen on; 0 takes any free one, printed at start.
    allowed_hosts: Host names served beside loopback names and the bound host; "*" is any.
    """

    host: str = "127.0.0.1"
    port: Port = 8081
    allowed_hosts: tuple[str, ...] = ()


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every bound of the core, in one place.

    header_timeout: How long a request's head may take to come in.
    header_count_max: Fields in a request's head.
    header_bytes_max: Bytes of a request's head.
    body_bytes_max: Bytes of a request's body; beyond it a 413.
    read_bytes_max: Bytes of a request's body that a plugin may have read whole.
    body_rate_min: Bytes a second that a request's body must bring on average.
    body_rate_grace: How long a request's body may be slower than that.
    connections_max: Callers' connections open at once.
    origin_connections_max: Connections open at once to one upstream origin.
    pipeline_bytes_max: Bytes that a caller may send ahead of its answer.
    keepalive_timeout: How long a caller's idle connection is kept.
    stall_timeout: How long a caller may leave its answer unread.
    linger_timeout: How long the rest of a refused body is read away, so that the answer arrives.
    preview_bytes_max: Bytes of an answer held back while its first event is judged.
    attempts_max: Attempts at upstreams for one exchange.
    call_depth_max: How deep calls made by plugins may nest.
    call_count_max: Calls that plugins may make for one exchange.
    buffer_bytes_max: Bytes waiting in one direction before the sender is paused.
    upstream_header_bytes_max: Bytes of an answer's head.
    dns_cache_max: Host names whose addresses are remembered.
    dns_cache_ttl: How long such addresses are remembered.
    idle_upstream_max: Idle connections kept to one upstream origin.
    upstream_keepalive_timeout: How long an idle upstream connection is kept.
    replay_bytes_max: Bytes of a request kept for going again on a fresh connection.
    websocket_idle_timeout: How long a WebSocket may be silent in both directions.
    websocket_message_bytes_max: Bytes of a WebSocket's message that a plugin may be shown.
    """

    header_timeout: Duration = parse_duration("10s")
    header_count_max: Count = 128
    header_bytes_max: Size = parse_size("64KiB")
    body_bytes_max: Size = parse_size("1GiB")
    read_bytes_max: Size = parse_size("32MiB")
    body_rate_min: Size = parse_size("500B")
    body_rate_grace: Duration = parse_duration("10s")
    connections_max: Count = 10_000
    origin_connections_max: Count = 1_000
    pipeline_bytes_max: Size = parse_size("64KiB")
    keepalive_timeout: Duration = parse_duration("75s")
    stall_timeout: Duration = parse_duration("60s")
    linger_timeout: Duration = parse_duration("2s")
    preview_bytes_max: Size = parse_size("64KiB")
    attempts_max: Count = 10
    call_depth_max: CountOrNone = 3
    call_count_max: CountOrNone = 16
    buffer_bytes_max: Size = parse_size("64KiB")
    upstream_header_bytes_max: Size = parse_size("256KiB")
    dns_cache_max: Count = 256
    dns_cache_ttl: Duration = parse_duration("30s")
    idle_upstream_max: CountOrNone = 64
    upstream_keepalive_timeout: Duration = parse_duration("60s")
    replay_bytes_max: Size = parse_size("256KiB")
    websocket_idle_timeout: Duration = parse_duration("600s")
    websocket_message_bytes_max: Size = parse_size("16MiB")


class Log(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The gateway's own log on standard error.

    level: The least severe level written: "debug", "info", "warning" or "error".
    format: "json", "console", or "auto": console where standard error is a terminal.
    """

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console", "auto"] = "auto"


class ProviderConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One provider: a new one, or changes to a built-in one, whose row holds what is left out.

    base_url: Where its API lives; the path after the provider's name is appended.
    dialect: Its wire format: a built-in family, or "module:name".
    api_key: The key sent where the caller brought none: "env:NAME" or "file:/path".
    credential: How the key is sent: "bearer", a field's name, or "authorization: Token {key}".
    strip_v1: Drop one leading "v1/" from the path when the base URL ends in it.
    stream_usage: It takes `stream_options.include_usage`, so that `usage` may ask for it.
    socket: A Unix socket to connect to instead of the URL's host.
    connect_timeout: How long a connection may take to be made, TLS included.
    first_byte_timeout: How long the answer's first byte may take, from the request's end.
    idle_timeout: How long an answer may pause while nobody on our side holds it up.
    connections_max: Connections open at once; 0 leaves it to limits.origin_connections_max.
    ca_file: Certificates to trust instead of the system's.
    client_cert: A certificate to show to the upstream (PEM), for those that want one.
    client_key: Its key (PEM, not encrypted); left out, it stands in client_cert.
    proxy: This provider's HTTP proxy, whatever the main one or the environment says; "" is none.
    warm: Connections kept ready before anybody asks for one.
    """

    base_url: str | None = None
    dialect: str | None = None
    api_key: Secret | None = None
    credential: str | None = None
    strip_v1: bool | None = None
    stream_usage: bool | None = None
    socket: str | None = None
    connect_timeout: Duration = parse_duration("5s")
    first_byte_timeout: Duration = parse_duration("600s")
    idle_timeout: Duration = parse_duration("120s")
    connections_max: CountOrNone = 0
    ca_file: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    proxy: ProxyUrl | None = None
    warm: CountOrNone = 0


class GatewayConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A named gateway: its own plan.

    enabled: Its plugins, beside the main authenticators and limits; left out, the main list.
    open: Leave the main list's authenticators and limits out.
    hosts: Host names that select this gateway.
    plugins: Tables that merge over the main ones.
    """

    enabled: tuple[str, ...] | None = None
    open: bool = False
    hosts: tuple[str, ...] = ()
    plugins: Mapping[str, Table] = {}


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole configuration.

    state_dir: Where keys, the admin token and other lasting files live.
    enabled: The plugins in order: modules of plugins/, entry points, or paths of .py files.
    proxy: The HTTP proxy to all upstreams, or "env:NAME"; left out, the environment's; "" is none.
    server: The callers' listener.
    admin: The operator's listener.
    limits: Every bound of the core, in one place.
    log: The gateway's own log on standard error.
    providers: Changes to the built-in providers, and new ones, by name.
    plugins: Each plugin's own table, by the plugin's name.
    gateways: Named gateways.
    """

    state_dir: str = "~/.local/state/weir"
    enabled: tuple[str, ...] = (
        "request_id",
        "metadata",
        "credentials",
        "mock",
        "timing",
        "access_log",
    )
    proxy: ProxyUrl | None = None
    server: Server = Server()
    admin: Admin = Admin()
    limits: Limits = Limits()
    log: Log = Log()
    providers: Mapping[str, ProviderConfig] = {}
    plugins: Mapping[str, Table] = {}
    gateways: Mapping[str, GatewayConfig] = {}

    @property
    def state_path(self) -> Path:
        return Path(self.state_dir).expanduser()

    def table(self, plugin: str, gateway: str | None = None) -> dict[str, Any]:
        """A plugin's raw table, a named gateway's merged over the main one."""
        main = merged({}, self.plugins.get(plugin, {}))
        if gateway is None:
            return main
        return merged(main, self.gateways[gateway].plugins.get(plugin, {}))


def merged(below: Table, above: Table) -> dict[str, Any]:
    """Both tables as one: tables merge in depth, any other value replaces the one below."""
    result = dict(below)
    for key, value in above.items():
        under = result.get(key)
        if isinstance(value, Mapping):
            result[key] = merged(under if isinstance(under, Mapping) else {}, value)
        else:
            result[key] = value
    return result

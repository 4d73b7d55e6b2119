"""What a type alone cannot say about the configuration: names, addresses, URLs, and keys that
depend on each other.

Each rule gives problems; none raises, so that one run shows everything. What needs the plugins or
the dialects is checked where those are loaded.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

import msgspec

from gateway.config import Config, GatewayConfig, Limits, ProviderConfig, Server
from gateway.convert import Problem
from gateway.places import KeyPath
from gateway.units import Duration, Size

# First path segments that mean something else than a provider.
RESERVED_SLUGS: Final = frozenset({"v1", "v1beta", "compat", "prompts", "api"})
# "default" is how a request names the gateway without a name of its own.
RESERVED_GATEWAYS: Final = RESERVED_SLUGS | {"default"}

# Where 0 means something: at once, never, none. Elsewhere it would break every request.
MAY_BE_ZERO: Final = frozenset(
    {
        "body_rate_grace",
        "body_rate_min",
        "dns_cache_ttl",
        "drain_timeout",
        "linger_timeout",
        "pipeline_bytes_max",
        "read_bytes_max",
        "replay_bytes_max",
    }
)

# One path segment that needs no escaping anywhere. A dot would allow "..".
_SLUG: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
# RFC 9110 section 5.6.2, lower case, and a dash at the end so that a prefix is a whole word.
_PREFIX: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]*[a-z0-9]-")
_HOST: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?")
_MODE: Final = re.compile(r"0?[0-7]{3}")
_DIALECT: Final = re.compile(r"[a-z][a-z0-9_-]*|[A-Za-z_][\w.]*:[A-Za-z_]\w*", re.ASCII)


def problems_of(config: Config) -> Iterator[Problem]:
    """Everything that is wrong with a configuration whose types are right."""
    if not config.state_dir.strip():
        yield Problem(("state_dir",), "wanted a directory, given an empty text")
    yield from _enabled(("enabled",), config.enabled)
    yield from _listeners(config)
    yield from _zeros(("limits",), config.limits)
    for name, provider in config.providers.items():
        yield from _provider(("providers", name), name, provider)
        yield from _warm(("providers", name), provider, config.limits)
    for name, gateway in config.gateways.items():
        yield from _gateway(("gateways", name), name, gateway)
    yield from _shared_hosts(config)


def warnings_of(config: Config) -> Iterator[Problem]:
    """What is allowed and still worth a line at start."""
    server = config.server
    if not is_loopback(server.host) and not server.allowed_hosts:
        yield Problem(
            ("server", "host"),
            f"{server.host} is not a loopback address and allowed_hosts is empty: "
            "callers must name the bound host itself; list the names they use",
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a listener on that host."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")


def _enabled(path: KeyPath, names: tuple[str, ...]) -> Iterator[Problem]:
    for at, name in enumerate(names):
        if not name.strip():
            yield Problem((*path, at), "wanted a plugin's name, given an empty text")
        elif name in names[:at]:
            yield Problem((*path, at), f'"{name}" is there twice')


def _listeners(config: Config) -> Iterator[Problem]:
    server, admin = config.server, config.admin
    yield from _host(("server", "host"), server.host)
    yield from _host(("admin", "host"), admin.host)
    if server.port == admin.port != 0 and _overlap(server.host, admin.host):
        yield Problem(("admin", "port"), f"{admin.port} is the callers' port (server.port) already")
    for table, names in (("server", server.allowed_hosts), ("admin", admin.allowed_hosts)):
        for at, name in enumerate(names):
            if name != "*":
                yield from _host((table, "allowed_hosts", at), name)
    for key in ("allowed_origins", "cors_origins"):
        for at, origin in enumerate(getattr(server, key)):
            yield from _origin(("server", key, at), origin)
    yield from _doors(server)
    if not server.header_prefixes:
        yield Problem(("server", "header_prefixes"), "wanted at least one prefix")
    for at, prefix in enumerate(server.header_prefixes):
        if not _PREFIX.fullmatch(prefix):
            text = f'wanted a lower-case prefix that ends in "-", such as "weir-", given "{prefix}"'
            yield Problem(("server", "header_prefixes", at), text)


def _doors(server: Server) -> Iterator[Problem]:
    if not _MODE.fullmatch(server.socket_mode):
        text = f'wanted a file mode such as "0660", given "{server.socket_mode}"'
        yield Problem(("server", "socket_mode"), text)
    for key, other in (("tls_cert", "tls_key"), ("tls_key", "tls_cert")):
        if getattr(server, key) and not getattr(server, other):
            yield Problem(("server", other), f"missing; {key} is of no use without it")
    for at, network in enumerate(server.trusted_proxies):
        try:
            if network != "unix":
                ipaddress.ip_network(network)
        except ValueError as error:
            text = f'wanted a network such as "10.0.0.0/8", or "unix" ({error})'
            yield Problem(("server", "trusted_proxies", at), text)
    if server.proxy_protocol and not server.trusted_proxies:
        text = "nobody would be believed; list the proxies in server.trusted_proxies"
        yield Problem(("server", "proxy_protocol"), text)


def _overlap(one: str, other: str) -> bool:
    return one == other or any(host in ("0.0.0.0", "::") for host in (one, other))


def _host(path: KeyPath, host: str) -> Iterator[Problem]:
    if not _is_host(host):
        text = f'wanted a host name or address without scheme, port or path, given "{host}"'
        yield Problem(path, text)


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return _HOST.fullmatch(host) is not None and ".." not in host
    return True


def _origin(path: KeyPath, origin: str) -> Iterator[Problem]:
    if origin == "*":
        return
    try:
        parts = urlsplit(origin)
        port_is_good = parts.port != 0
    except ValueError:
        parts, port_is_good = urlsplit(""), False
    bare = f"{parts.scheme}://{parts.netloc}"
    if not (parts.hostname and port_is_good and "@" not in bare and bare == origin):
        text = f'wanted "scheme://host" or "scheme://host:port", given "{origin}"'
        yield Problem(path, text)


def _zeros(path: KeyPath, table: msgspec.Struct) -> Iterator[Problem]:
    for field in msgspec.structs.fields(table):
        value = getattr(table, field.name)
        if isinstance(value, Duration | Size) and value == 0 and field.name not in MAY_BE_ZERO:
            yield Problem((*path, field.name), "wanted more than 0")


def _provider(path: KeyPath, name: str, provider: ProviderConfig) -> Iterator[Problem]:
    yield from _name(path, name, RESERVED_SLUGS)
    yield from _zeros(path, provider)
    if provider.base_url is not None and (fault := _url_fault(provider.base_url)):
        yield Problem((*path, "base_url"), fault)
    if provider.dialect is not None and not _DIALECT.fullmatch(provider.dialect):
        text = f'wanted a dialect\'s name or "module:name", given "{provider.dialect}"'
        yield Problem((*path, "dialect"), text)
    for key in ("socket", "ca_file", "client_cert", "client_key"):
        if getattr(provider, key) == "":
            yield Problem((*path, key), "wanted a path, given an empty text")


def _warm(path: KeyPath, provider: ProviderConfig, limits: Limits) -> Iterator[Problem]:
    """More could never be ready: the pool opens no more, or drops what it has too many of."""
    bounds = {
        "limits.idle_upstream_max": limits.idle_upstream_max,
        "limits.origin_connections_max": limits.origin_connections_max,
    }
    if provider.connections_max:
        del bounds["limits.origin_connections_max"]
        bounds["connections_max"] = provider.connections_max
    for name, bound in bounds.items():
        if provider.warm > bound:
            yield Problem((*path, "warm"), f"wanted at most {name}, {bound}; raise that first")


def _url_fault(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return f"not a URL: {error}"
    # A password in a URL ends up in logs, so the URL itself is not repeated from here on.
    if parts.username is not None or parts.password is not None:
        return "wanted no user or password in the URL; use api_key"
    if parts.scheme not in ("http", "https"):
        return f'wanted an http:// or https:// URL, given "{url}"'
    if not parts.hostname or not _is_host(parts.hostname.translate(_BRACES)) or port == 0:
        return f'wanted a URL with a host, given "{url}"'
    if "?" in url or "#" in url:
        return f'wanted a URL without query or fragment, given "{url}"'
    if not (url.isascii() and url.isprintable() and " " not in url):
        return f'wanted printable ASCII without spaces, given "{url}"'
    return ""


# A row may hold places such as {region} that the request's path fills.
_BRACES: Final = str.maketrans("{}", "__")


def _gateway(path: KeyPath, name: str, gateway: GatewayConfig) -> Iterator[Problem]:
    yield from _name(path, name, RESERVED_GATEWAYS)
    if gateway.enabled is not None:
        yield from _enabled((*path, "enabled"), gateway.enabled)
    for at, host in enumerate(gateway.hosts):
        yield from _host((*path, "hosts", at), host)


def _name(path: KeyPath, name: str, reserved: frozenset[str]) -> Iterator[Problem]:
    if name in reserved:
        yield Problem(path, f'"{name}" is reserved; choose another name')
    elif not _SLUG.fullmatch(name):
        yield Problem(path, "wanted a name of lower-case letters, digits, - and _, at most 64 long")


def _shared_hosts(config: Config) -> Iterator[Problem]:
    owners: dict[str, str] = {}
    for name, gateway in config.gateways.items():
        for at, host in enumerate(gateway.hosts):
            owner = owners.setdefault(host.lower(), name)
            if owner != name:
                text = f'"{host}" selects gateway "{owner}" already'
                yield Problem(("gateways", name, "hosts", at), text)

"""The providers: the built-in rows of providers.toml and what config.toml makes of them.

`build` turns rows and tables into `Provider`s, which are asked on the hot path: where does this
path go, who reads this format, which key goes along. Everything that can be known before a request
comes is prepared here. What a row may say stands in `gateway.rows`; where a path decides about the
host, `gateway.origins` holds the rules.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.config import Config, ProviderConfig
from gateway.convert import ConfigErrors, Problem, nearest
from gateway.dialects import Dialect, dialect_of, load
from gateway.errors import CallerFault, StartError
from gateway.origins import Address, Origin, Pattern, refuse_climbing
from gateway.proxies import Proxies, proxies_for
from gateway.rows import BASE_URL, Credential, Row, built_in, overridden
from gateway.secret import Secret, resolve
from gateway.upstream_tls import faults

if TYPE_CHECKING:
    from gateway.places import KeyPath

V1: Final = b"v1/"
_QUERY: Final = "query:"


class Provider:
    """One provider, ready for requests.

    caller_fields, caller_queries: what counts as the caller's own credential: fields by their names
    in lower case, and marks of a parameter in the path, such as b"?key=".
    """

    __slots__ = (
        "_base",
        "_drops",
        "_heads",
        "_origin",
        "_patterns",
        "_prefix",
        "api_key",
        "caller_fields",
        "caller_queries",
        "connect_timeout",
        "connections_max",
        "credential",
        "dialect",
        "first_byte_timeout",
        "idle_timeout",
        "name",
        "slug",
        "stream_usage",
        "warm",
    )

    def __init__(
        self,
        name: str,
        row: Row,
        settings: ProviderConfig,
        *,
        address: Address | None,
        patterns: tuple[Pattern, ...],
        api_key: Secret | None,
    ) -> None:
        self.name = name
        self.slug = name.encode()
        self.dialect = row.dialect
        self.stream_usage = row.stream_usage
        self.api_key = api_key
        self.connect_timeout: int = settings.connect_timeout
        self.first_byte_timeout: int = settings.first_byte_timeout
        self.idle_timeout: int = settings.idle_timeout
        self.connections_max: int = settings.connections_max
        self.warm: int = settings.warm
        self.credential = Credential(row.credential)
        others = row.caller_credentials
        fields = (other.encode() for other in others if not other.startswith(_QUERY))
        self.caller_fields = frozenset({self.credential.name.lower(), *fields})
        queries = [other.removeprefix(_QUERY) for other in others if other.startswith(_QUERY)]
        self.caller_queries = tuple(f"{m}{q}=".encode() for q in queries for m in "?&")
        self._patterns = patterns
        self._origin = address.origin({}) if address is not None else None
        self._base = address.path.rstrip("/").encode() if address is not None else b""
        self._prefix = self._base + b"/"
        self._drops = _drops(self._base) if row.strip_v1 else ()
        # Heads of a path that need a second look; most paths have none of them.
        self._heads = self._drops or ((V1,) if self._base.endswith(b"/v1") else (V1 + V1,))

    def locate(self, path: bytes, account: str | None) -> tuple[Origin, bytes]:
        """Where a request goes, and the path with query to ask for there.

        path: what follows the provider's slug and its slash. account: that of Cloudflare's form.
        """
        if path.startswith(self._heads):
            path = self._without_v1(path)
        if self._patterns:
            for pattern in self._patterns:
                found = pattern.locate(path, account)
                if found is not None:
                    return found
        origin = self._origin
        if origin is None:
            raise self._lost()
        if path.find(b"..") >= 0 or path.find(b"%2") >= 0:
            refuse_climbing(path)
        if path[:1] in (b"", b"?"):
            return origin, (self._base or b"/") + path
        return origin, self._prefix + path

    @property
    def origin(self) -> Origin | None:
        """The one server of a provider whose address holds no places."""
        return self._origin

    def dialect_at(self, path: bytes) -> Dialect | None:
        """The reader of the format that this provider speaks at that path."""
        return dialect_of(self.dialect, path)

    def _without_v1(self, path: bytes) -> bytes:
        """The path without what its base URL brings along already; a `v1` too many is refused."""
        for drop in self._drops:
            if path.startswith(drop):
                rest = path[len(drop) :]
                if not (rest.startswith(V1) or rest == b"v1"):
                    return rest
        raise CallerFault(
            "The path holds /v1 twice: the client appends it to a base URL that ends in it "
            "already. Leave it out of the client's base URL, or set strip_v1 for the provider.",
            status=404,
            code="doubled_v1",
        )

    def _lost(self) -> CallerFault:
        forms = ", ".join(f"/{self.name}/{pattern.text}" for pattern in self._patterns)
        return CallerFault(
            f"The path does not say where at {self.name} it leads; it takes {forms}.",
            status=404,
            code="bad_path",
        )


def build(
    config: Config, state_dir: Path, environ: Mapping[str, str] = os.environ
) -> dict[str, Provider]:
    """Every provider by its name. `ConfigErrors` with all that is wrong with any of them."""
    rows = built_in()
    proxies, wrong = proxies_for(config.proxy, environ)
    problems = [Problem(("proxy",), text, place=variable) for variable, text in wrong]
    providers = {}
    for name in {**rows, **config.providers}:
        settings = config.providers.get(name, ProviderConfig())
        maker = _Maker(name, rows.get(name), settings, state_dir, environ, proxies)
        provider = maker.make(problems)
        if provider is not None:
            providers[name] = provider
    if problems:
        raise ConfigErrors(problems)
    return providers


def built_in_names() -> tuple[str, ...]:
    """The names of the providers that need no configuration."""
    return tuple(built_in())


class _Maker:
    """Makes one provider of its row and its table, or says what is wrong."""

    def __init__(
        self,
        name: str,
        row: Row | None,
        settings: ProviderConfig,
        state_dir: Path,
        environ: Mapping[str, str],
        proxies: Proxies,
    ) -> None:
        self.name = name
        self.proxies = proxies if settings.proxy is None else Proxies.own(settings.proxy)
        self.settings = settings
        self.row = overridden(row or Row(), settings)
        self.environ = environ
        places = {"state_dir": str(state_dir), "pid": str(os.getpid())}
        self.socket = _filled(self.row.socket, places) or None
        self.ca_file = _expanded(settings.ca_file)
        self.client_cert = _expanded(settings.client_cert)
        self.client_key = _expanded(settings.client_key)
        self.patterns: tuple[Pattern, ...] = ()
        self.address: Address | None = None

    def make(self, problems: list[Problem]) -> Provider | None:
        found = [*self._prepare()]
        problems += found
        if found:
            return None
        return Provider(
            self.name,
            self.row,
            self.settings,
            address=self.address,
            patterns=self.patterns,
            api_key=self.settings.api_key or _first(self.row.api_key, self.environ),
        )

    def _prepare(self) -> Iterator[Problem]:
        try:
            load(self.row.dialect)
        except StartError as error:
            yield self._problem("dialect", str(error))
        try:
            Credential(self.row.credential)
        except ValueError as error:
            yield self._problem("credential", str(error))
        for key, text in faults(self.ca_file, self.client_cert, self.client_key):
            yield self._problem(key, text)
        own = self.settings.proxy
        if self.socket and own is not None and own.proxy is not None:
            yield self._problem("proxy", "no proxy leads to a Unix socket; take one of the two out")
        if not self.row.base_url and not self.row.paths:
            near = nearest(self.name, built_in())
            text = "missing; no built-in provider has this name, and a new one needs a base_url"
            yield Problem(("providers", self.name), text, nearest=near)
            return
        try:
            yield from self._prepare_addresses()
        except ValueError as error:
            yield self._problem("base_url", str(error))

    def _prepare_addresses(self) -> Iterator[Problem]:
        base_url = self.row.base_url.rstrip("/")
        paths = {form: url.replace(BASE_URL, base_url) for form, url in self.row.paths.items()}
        if "{" in base_url:
            paths.setdefault("*", f"{base_url}/*")
        elif base_url:
            self.address = self._address(base_url)
        if self.settings.warm and self.address is None:
            text = "wanted a base_url without places: nobody knows yet where a request will lead"
            yield self._problem("warm", text)
        patterns = tuple(Pattern(form, self._address(url)) for form, url in paths.items())
        for place in sorted({place for pattern in patterns for place in pattern.unfilled}):
            yield self._problem("base_url", f"nothing fills {{{place}}}; only {{account}} can")
        self.patterns = patterns

    def _address(self, url: str) -> Address:
        return Address(
            url,
            socket=self.socket,
            ca_file=self.ca_file,
            client_cert=self.client_cert,
            client_key=self.client_key,
            proxies=self.proxies,
        )

    def _problem(self, key: str, text: str) -> Problem:
        path: KeyPath = ("providers", self.name, key)
        return Problem(path, text)


def _first(references: str | tuple[str, ...], environ: Mapping[str, str]) -> Secret | None:
    """The first of these secrets that is there, else the first, which says that it is missing."""
    names = (references,) if isinstance(references, str) else references
    secrets = [resolve(name, environ) for name in names]
    there = (secret for secret in secrets if not secret.missing)
    return next(there, secrets[0] if secrets else None)


def _drops(base: bytes) -> tuple[bytes, ...]:
    """What a path may repeat of a base URL that ends in /v1, longest first."""
    if not base.endswith(b"/v1"):
        return ()
    return tuple(dict.fromkeys((base[1:] + b"/", V1)))


def _filled(text: str, places: Mapping[str, str]) -> str:
    for place, value in places.items():
        text = text.replace(f"{{{place}}}", value)
    return str(Path(text).expanduser()) if text else ""


def _expanded(path: str | None) -> str | None:
    return None if path is None else str(Path(path).expanduser())

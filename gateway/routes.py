"""Which provider, gateway and path a request's target names.

    /{provider}/{path}                            the provider's own API
    /v1/{account}/{gateway}/{provider}/{path}     the same in Cloudflare AI Gateway's form
    the pattern of a plugin's `Route`             wins over Cloudflare's form

The first form is nearly all of the traffic and costs one look into a dict. Nothing is decoded: a
slug with an escape in it is no slug. A target that leads nowhere is a 404 whose text says what was
probably meant, because most of them are a base URL with a part too many or too few.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from gateway.config import Config
from gateway.convert import nearest
from gateway.errors import CallerFault, StartError
from gateway.origins import quoted
from gateway.rules import RESERVED_SLUGS

if TYPE_CHECKING:
    from gateway.exchange import Target
    from gateway.gateway import Route
    from gateway.providers import Provider

DEFAULT: Final = "default"
PLAIN: Final = "plain"
CLOUDFLARE: Final = "cloudflare"
# Targets that are remembered, and how long they may be: providers have a dozen paths each, and what
# else comes, such as those that hold an id, is soon forgotten.
KNOWN_MAX: Final = 1024
KNOWN_BYTES_MAX: Final = 256
# Names in a message; a longer list helps nobody.
LISTED_MAX: Final = 20


class Found:
    """Where a target leads.

    provider: None for a plugin's route. path: with query, what follows the provider's slug and its
    slash; of a plugin's route all but the first slash. surface: whose error shape to speak, None
    for that of the provider's dialect. account: that of Cloudflare's form. dialect: that of a
    plugin's route.
    """

    __slots__ = ("account", "dialect", "gateway", "path", "provider", "surface", "target")

    def __init__(
        self,
        provider: Provider | None,
        path: bytes,
        gateway: str,
        surface: str | None,
        account: str | None = None,
        dialect: str | None = None,
    ) -> None:
        self.provider = provider
        self.path = path
        self.gateway = gateway
        self.surface = surface
        self.account = account
        self.dialect = dialect
        self.target: Target | None = None  # where that is at the provider, once somebody went there


class NoRoute(CallerFault):
    """A target that leads nowhere. surface: whose error shape its caller expects, if clear."""

    def __init__(self, message: str, *, code: str = "no_route", surface: str = PLAIN) -> None:
        super().__init__(message, status=404, code=code)
        self.surface = surface


class Table:
    """The routes of one configuration. Plugins' routes are added once, at start."""

    def __init__(self, config: Config, providers: Mapping[str, Provider]) -> None:
        self._providers = {provider.slug: provider for provider in providers.values()}
        self._gateways = {name.encode(): name for name in (DEFAULT, *config.gateways)}
        self._hosts = {
            host.lower().strip("[]").encode(): name
            for name, gateway in config.gateways.items()
            for host in gateway.hosts
        }
        # Where targets lead that were seen before and lead there for everybody: look here first.
        self.known: dict[bytes, Found] = {}
        self._exact: dict[bytes, Route] = {}
        self._below: list[tuple[bytes, Route]] = []

    def add_route(self, route: Route) -> None:
        """Add a plugin's route; `StartError` if its pattern cannot be one or is taken."""
        pattern = route.pattern.encode()
        fault = self._fault(pattern)
        if fault:
            raise StartError(f'route "{route.pattern}": {fault}')
        if pattern.endswith(b"/*"):
            self._below.append((pattern[:-1], route))
            self._below.sort(key=lambda entry: len(entry[0]), reverse=True)  # the closest wins
        else:
            self._exact[pattern] = route

    def _fault(self, pattern: bytes) -> str:
        slug = pattern[1:].partition(b"/")[0]
        bare = pattern.removesuffix(b"/*")
        if bare[:1] != b"/" or not slug or b"*" in bare or b"?" in bare:
            return 'wanted a path such as "/v1/models", or one that ends in "/*"'
        if slug in self._providers:
            return f"/{slug.decode()}/ leads to the provider of that name"
        if pattern in self._exact or any(pattern[:-1] == known for known, _ in self._below):
            return "a plugin serves it already"
        return ""

    def find(self, target: bytes, gateway_header: bytes | None, host: bytes) -> Found:
        """Where a request's target leads; raises `NoRoute`.

        gateway_header: the value of the field that names a gateway, if there is one. host: that of
        the Host field.
        """
        end = target.find(b"/", 1)
        if end < 0:
            end = len(target)
        provider = self._providers.get(target[1:end])
        if provider is None or target[:1] != b"/":
            return self._find_other(target, gateway_header, host)
        path = target[end + 1 :]
        if gateway_header is None and not self._hosts:
            found = Found(provider, path, DEFAULT, None)
            if len(target) <= KNOWN_BYTES_MAX:
                if len(self.known) >= KNOWN_MAX:
                    self.known.clear()  # those in use are back at once
                self.known[target] = found
            return found
        dialect = provider.dialect_at(path)
        surface = PLAIN if dialect is None else dialect.surface
        return Found(provider, path, self._gateway(gateway_header, host, surface), surface)

    def _find_other(self, target: bytes, gateway_header: bytes | None, host: bytes) -> Found:
        bare, mark, query = target.partition(b"?")
        provider = self._providers.get(bare[1:])
        if provider is not None and bare[:1] == b"/":  # no path at all, but a query
            return self.find(bare + b"/" + mark + query, gateway_header, host)
        route = self._route(bare)
        if route is not None:
            gateway = self._gateway(gateway_header, host, route.surface)
            return Found(None, target[1:], gateway, route.surface, dialect=route.dialect)
        if bare.startswith(b"/v1/"):
            return self._find_cloudflare(bare, mark + query)
        raise self._unknown(bare)

    def _find_cloudflare(self, bare: bytes, query: bytes) -> Found:
        """Cloudflare's form; its gateway goes before any other way to name one."""
        parts = bare.split(b"/", 5)[2:]
        if len(parts) < 3 or not parts[0] or parts[0] == b"v1":
            raise self._unknown(bare)
        account, gateway, slug, *rest = parts
        provider = self._providers.get(slug)
        below = b"/" + b"/".join([slug, *rest])
        route = self._route(below) if provider is None else None
        if provider is None and route is None:
            raise self._unknown_provider(slug, CLOUDFLARE)
        name = self._gateways.get(gateway)
        if name is None:
            raise self._unknown_gateway(gateway, CLOUDFLARE)
        owner = account.decode("utf-8", "replace")
        if route is not None:
            return Found(None, below[1:] + query, name, route.surface, owner, route.dialect)
        return Found(provider, b"".join(rest) + query, name, CLOUDFLARE, owner)

    def _route(self, bare: bytes) -> Route | None:
        """The plugin's route for a path without query."""
        route = self._exact.get(bare)
        if route is not None or not self._below:
            return route
        return next((r for above, r in self._below if bare.startswith(above)), None)

    def _gateway(self, header: bytes | None, host: bytes, surface: str) -> str:
        if header is not None:
            name = self._gateways.get(header)
            if name is None:
                raise self._unknown_gateway(header, surface)
            return name
        if not self._hosts:
            return DEFAULT
        bare = host[1 : host.find(b"]")] if host[:1] == b"[" else host.partition(b":")[0]
        return self._hosts.get(bare.lower(), DEFAULT)

    # -- what to say of a target that leads nowhere ------------------------------------------------

    def _unknown(self, bare: bytes) -> NoRoute:
        slug = bare[1:].partition(b"/")[0]
        if (bare + b"/").startswith(b"/v1/v1/"):
            return NoRoute(
                "The path holds /v1 twice: the client appends it to a base URL that ends in it "
                "already. Leave it out of the client's base URL.",
                code="doubled_v1",
            )
        if slug.decode("latin-1") in RESERVED_SLUGS:
            return NoRoute(
                f'Nothing is served at "{quoted(bare)}": no plugin that is enabled here has it. '
                f"A provider's own API is at /PROVIDER/PATH, such as {self._example()}."
            )
        if bare[:1] != b"/" or not slug:
            return NoRoute(
                f"The path must begin with a provider's name, such as {self._example()}."
            )
        return self._unknown_provider(slug, PLAIN)

    def _unknown_provider(self, slug: bytes, surface: str) -> NoRoute:
        shown = quoted(slug)
        near = nearest(shown, [known.decode() for known in self._providers])
        hint = f'; did you mean "{near}"?' if near else "."
        where = " (as in /v1/{account}/{gateway}/{provider}/...)" if surface == CLOUDFLARE else ""
        return NoRoute(
            f'There is no provider "{shown}"{where}{hint} '
            "Providers of one's own are added to config.toml as [providers.NAME] with a base_url.",
            code="unknown_provider",
            surface=surface,
        )

    def _unknown_gateway(self, name: bytes, surface: str) -> NoRoute:
        known = ", ".join(list(self._gateways.values())[:LISTED_MAX])
        return NoRoute(
            f'There is no gateway "{quoted(name)}"; there is: {known}.',
            code="unknown_gateway",
            surface=surface,
        )

    def _example(self) -> str:
        slug = next(iter(self._providers), b"openai").decode()
        return f"/{slug}/v1/models"

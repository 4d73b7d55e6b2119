"""What config.toml says of tokens, and what is wrong with it."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec

from gateway import Duration, parse_duration

from .algorithms import ALGORITHMS
from .identities import Claims

FILE: Final = "file:"
# More would be no skew of clocks but a longer life of tokens.
SKEW_MAX_NS: Final = parse_duration("10m")
REFRESH_MIN_NS: Final = parse_duration("1s")


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose tokens are taken, and what they say.

    jwks: Where the issuer's keys are: an https URL, or "file:/path"; a JWK Set.
    public_key: One key instead, "file:/path" of a PEM.
    issuer: The `iss` that tokens must have.
    audience: The `aud` that they must be made out to; a list where each of several will do.
    any_audience: Take tokens made out to anybody.
    algorithms: What they may be signed by.
    claims: Which claims say who calls.
    skew: How far the issuer's clock may be off.
    refresh: How often the keys are read again.
    stale: How long the last ones are used while that fails.
    ca_file: Certificates to trust instead of the system's, for the URL.
    remembered_max: Good tokens remembered, in each process.
    """

    jwks: str = ""
    public_key: str = ""
    issuer: str = ""
    audience: str | tuple[str, ...] = ()
    any_audience: bool = False
    algorithms: tuple[str, ...] = tuple(ALGORITHMS)
    claims: Claims = Claims()
    skew: Duration = parse_duration("30s")
    refresh: Duration = parse_duration("5m")
    stale: Duration = parse_duration("24h")
    ca_file: str = ""
    remembered_max: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 10_000

    def __post_init__(self) -> None:
        if self.jwks and not self.jwks.startswith(FILE):
            _check_url(self.jwks)
        if self.public_key and not self.public_key.startswith(FILE):
            raise ValueError('public_key: wanted "file:/path" of a public key in PEM')
        unknown = [name for name in self.algorithms if name not in ALGORITHMS]
        if unknown or not self.algorithms:
            known = ", ".join(ALGORITHMS)
            raise ValueError(f"algorithms: wanted some of {known}; a shared secret is not taken")
        if self.skew > SKEW_MAX_NS:
            raise ValueError("skew: wanted at most 10m; give the tokens a longer life instead")
        if self.refresh < REFRESH_MIN_NS:
            raise ValueError("refresh: wanted at least 1s")
        if self.stale < self.refresh:
            raise ValueError("stale: wanted at least as long as refresh")

    @property
    def audiences(self) -> tuple[str, ...]:
        return (self.audience,) if isinstance(self.audience, str) else self.audience


def faults(config: Config) -> list[str]:
    """What is missing, each with the way out."""
    found = []
    if bool(config.jwks) == bool(config.public_key):
        found.append("wanted one of jwks (a URL or a file) and public_key (a file)")
    if not config.issuer:
        found.append("issuer: missing; wanted the `iss` of the tokens")
    if config.any_audience == bool(config.audiences) or not all(config.audiences):
        found.append(
            "audience: wanted the `aud` of tokens made out to this gateway, or any_audience = true "
            "to take those made out to anybody"
        )
    return found


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError as error:
        raise ValueError(f"jwks: {error}") from error
    if parts.username is not None or parts.password is not None:
        raise ValueError("jwks: wanted no user and password in it; keys are public")
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and _is_near(host))):
        raise ValueError(
            'jwks: wanted an https URL, such as "https://issuer.example/.well-known/jwks.json", '
            'or "file:/path"; http is taken of this machine only'
        )


def _is_near(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

"""Makes a verifier of settings. What it imports needs the extra `jwt`."""

from __future__ import annotations

from .keys import read_pem, read_set
from .settings import Config
from .source import Source
from .verifying import Verifier


def opened(config: Config) -> Verifier:
    """Made, with no keys read yet. OSError where `ca_file` cannot be read."""
    source = Source(
        config.jwks or config.public_key,
        read_pem if config.public_key else read_set,
        ca_file=config.ca_file,
        refresh_ns=config.refresh,
        stale_ns=config.stale,
    )
    return Verifier(
        issuer=config.issuer,
        audiences=config.audiences,
        algorithms=config.algorithms,
        claims=config.claims,
        skew_ms=config.skew // 1_000_000,
        remembered_max=config.remembered_max,
        source=source,
    )

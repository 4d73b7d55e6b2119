"""The keys that are known in this process: those of config.toml, and those of the store.

A look-up is one or two dicts by the SHA-256 of what came, so ten thousand keys cost what one does,
and nothing about a key's characters can be learned from the time that it takes.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from gateway import Secret, resolve

from .fields import StaticKey, Team
from .format import parse_digest
from .grants import Grant

if TYPE_CHECKING:
    from . import Config

Ring = dict[bytes, Grant]


def secrets_of(team: Team) -> Mapping[str, Secret]:
    """The provider keys that a team brings, by provider."""
    return {provider: resolve(text, os.environ) for provider, text in team.provider_keys.items()}


def static_ring(config: Config) -> Ring:
    """The grants of the configuration's keys, by digest."""
    teams = {team.name: team for team in config.teams}
    secrets = {team.name: secrets_of(team) for team in config.teams}
    ring = {}
    for key in config.keys:
        team = teams.get(key.team)
        grant = Grant(key.id or key.name, key, team, secrets.get(key.team, {}))
        ring[parse_digest(key.hash)] = grant
    return ring


def check_static(keys: tuple[StaticKey, ...], teams: tuple[Team, ...]) -> None:
    """ValueError where the configuration's keys and teams do not fit together."""
    for field, names in (
        ("teams", [team.name for team in teams]),
        ("keys", [key.id or key.name for key in keys]),
        ("keys", [key.hash for key in keys]),
    ):
        twice = next((name for name, count in Counter(names).items() if count > 1), None)
        if twice is not None:
            raise ValueError(f"{field}: two are {twice}; a name, id or hash stands there once")
    known = {team.name for team in teams}
    for key in keys:
        if key.team and key.team not in known:
            raise ValueError(
                f"keys: {key.name}: there is no team {key.team}; add a table "
                f'[[plugins.api_keys.teams]] with name = "{key.team}"'
            )


def missing_secrets(teams: tuple[Team, ...]) -> Iterator[str]:
    """What is wrong with the provider keys of teams."""
    for team in teams:
        for provider, secret in secrets_of(team).items():
            if secret.missing:
                yield (
                    f"team {team.name}: {provider}: {secret.reference} is {secret.why_missing}, "
                    "so its requests go up without a key"
                )

"""Rules: what the configuration says, and the same ready for a request."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Final, Literal

import msgspec

from gateway import check_scopes, subject_of

from .unpriced import TokenPrice, Tokens
from .windows import PERIODS, zone_of

NANOS_PER_USD: Final = 10**9
USD: Final = "USD"
TOKENS: Final = "tokens"
OUTPUT_DEFAULT: Final = 4096
_WHAT: Final = ("gateway", "key", "team", "user", "provider", "model")
_LIMIT: Final = re.compile(
    r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([kMG]?) ?(USD|tokens?)(?: ?/ ?| per )([a-z]+)"
)
_SCALES: Final = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
_NAME: Final = re.compile(r"[\x21-\x7e]{1,100}")


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One budget.

    name: What it is called in refusals, alerts and reports.
    scope: Whose spending is counted together; one of gateway, key, team, user, provider, model,
        metadata.NAME, or a list of them.
    limit: So much in each window, "200 USD/month" or "1M tokens/day".
    window: "calendar" begins with the day, month and so on, "rolling" ends now.
    zone: The time zone of a calendar.
    hard: Refuse what may go beyond it; otherwise it only counts and warns.
    alerts: At which shares of the limit to warn.
    unpriced: Under a limit in USD, "refuse" models without a price, "allow" them uncounted, or
        count their "tokens" at token_price.
    token_price: USD for a million of these tokens.
    status: Of a refusal.
    output_default: Tokens of output reserved for a request that states no maximum; "model" is the
        most that the model writes, 4096 where its price does not say.
    cost_default: USD reserved for a request that names no model.
    stop_in_flight: End a stream that would go beyond it.
    """

    name: str
    scope: str | tuple[str, ...]
    limit: str
    window: Literal["calendar", "rolling"] = "calendar"
    zone: str = "UTC"
    hard: bool = True
    alerts: tuple[float, ...] = (0.5, 0.8, 1.0)
    unpriced: Literal["refuse", "allow", "tokens"] = "refuse"
    token_price: Tokens | None = None
    status: Literal[429, 402] = 429
    output_default: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] | Literal["model"] = (
        OUTPUT_DEFAULT
    )
    cost_default: Annotated[float, msgspec.Meta(ge=0, le=1_000_000)] = 0.01
    stop_in_flight: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError("name: wanted 1 to 100 printable characters without a space")
        for key, check in (
            ("scope", lambda: check_scopes(self.scopes, _WHAT)),
            ("limit", lambda: amount_of(self.limit)),
            ("zone", lambda: zone_of(self.zone)),
        ):
            try:
                check()
            except ValueError as error:
                raise ValueError(f"{key}: of the rule {self.name}: {error}") from error
        if any(not 0 < share <= 10 for share in self.alerts):
            raise ValueError(
                f"alerts: of the rule {self.name}: wanted shares of the limit above 0, such as 0.8"
            )
        if (self.unpriced == "tokens") != (self.token_price is not None):
            raise ValueError(
                f'token_price: of the rule {self.name}: it goes with unpriced = "tokens"; set '
                "both, such as token_price = { input = 3, output = 15 }, or neither"
            )
        if self.stop_in_flight and not self.hard:
            raise ValueError(
                f"stop_in_flight: of the rule {self.name}: only a hard rule stops anything; set "
                "hard = true or leave this out"
            )

    @property
    def scopes(self) -> tuple[str, ...]:
        return (self.scope,) if isinstance(self.scope, str) else self.scope


def amount_of(written: str) -> tuple[int, str, str]:
    """A limit as a whole number, its unit and its period. ValueError says what is wrong."""
    found = _LIMIT.fullmatch(written.strip())
    if found is None or found[4] not in PERIODS:
        raise ValueError(
            f'"{written}" is none; wanted an amount, USD or tokens, and a period, such as '
            f'"200 USD/month" or "1M tokens/day"; periods are {", ".join(PERIODS)}'
        )
    unit = USD if found[3] == USD else TOKENS
    amount = Decimal(found[1]) * _SCALES[found[2]] * (NANOS_PER_USD if unit == USD else 1)
    if amount != int(amount):
        raise ValueError(f'"{written}": wanted whole tokens')
    return int(amount), unit, found[4]


class Limit:
    """A rule ready for use. amount: its limit as nano-dollars or tokens.

    dimensions: names of what its counters are for. is_by_provider: whether an attempt's target
    decides which of them. thresholds: its alerts as amounts, and one that is never reached.
    output_default: tokens of output that are reserved where none are stated, and asks_model
    whether the model's own most comes before that. cost_default: nano-dollars where no model is.
    fallback: the price of models without one. shown: what a header says of it.
    subject: finds a request's among its counters; None where the request has none.
    """

    __slots__ = (
        "amount",
        "asks_model",
        "cost_default",
        "dimensions",
        "fallback",
        "hard",
        "in_usd",
        "is_by_provider",
        "name",
        "output_default",
        "period",
        "rule",
        "shown",
        "subject",
        "thresholds",
        "unit",
    )

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.name = rule.name
        self.hard = rule.hard
        default = rule.output_default
        self.asks_model = default == "model"
        self.output_default = OUTPUT_DEFAULT if default == "model" else default
        self.cost_default = int(Decimal(str(rule.cost_default)) * NANOS_PER_USD)
        self.fallback = None if rule.token_price is None else TokenPrice(rule.token_price)
        self.dimensions = rule.scopes
        self.amount, self.unit, self.period = amount_of(rule.limit)
        self.in_usd = self.unit == USD
        self.is_by_provider = "provider" in self.dimensions
        shares = sorted(set(rule.alerts))
        self.thresholds: tuple[float, ...] = (
            *(int(self.amount * Decimal(str(share))) for share in shares),
            float("inf"),
        )
        self.shown = f"{self.written(self.amount)}/{self.period}; {self.name}".encode()
        self.subject = subject_of(self.dimensions)

    @property
    def shares(self) -> list[float]:
        return sorted(set(self.rule.alerts))

    @property
    def key(self) -> tuple[object, ...]:
        """What has to stay the same for counters to stay, through reloads and between gateways."""
        rule = self.rule
        what = (self.unit, self.period, rule.window, rule.zone, rule.token_price)
        return (self.name, self.dimensions, *what)

    def told_of(self, spent: int) -> int:
        """How many alerts an amount has come past."""
        return sum(spent >= threshold for threshold in self.thresholds)

    def header(self, amount: int) -> bytes:
        """The same for a header: money to the billionth, with all its zeros, which is quick."""
        if self.in_usd:
            return b"%d.%09d USD" % (amount // NANOS_PER_USD, amount % NANOS_PER_USD)
        return b"%d tokens" % amount

    def written(self, amount: int) -> str:
        """An amount with its unit; money to the billionth, without zeros at its end."""
        return f"{usd(amount)} USD" if self.in_usd else f"{amount} tokens"


def usd(nanos: int) -> str:
    """Nano-dollars as dollars."""
    sign, nanos = ("-", -nanos) if nanos < 0 else ("", nanos)
    fraction = f"{nanos % NANOS_PER_USD:09d}".rstrip("0")
    return f"{sign}{nanos // NANOS_PER_USD}{'.' if fraction else ''}{fraction}"

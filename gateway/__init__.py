"""Weir: an AI gateway. This is its public door: what plugins import, and all that they import.

from gateway import Exchange, Reply, hookimpl
"""

from gateway.bearer import consume, credential_of, is_known, unauthorized
from gateway.dialects.loose import has, read_json
from gateway.entry import closing_entry, opening_entry
from gateway.errors import CallerFault, GatewayError, OwnFault, StartError, UpstreamFault
from gateway.exchange import (
    CACHED,
    CLIENT_ABORT,
    COMPLETE,
    FAILED,
    PROVIDER_ERROR,
    REFUSED,
    STOPPED,
    TRUNCATED,
    Attempt,
    Exchange,
    Target,
)
from gateway.forms import is_form
from gateway.gateway import Answered, Doc, Endpoint, Gateway, Request, Route
from gateway.headers import Headers
from gateway.hooks import hookimpl
from gateway.identity import Identity
from gateway.lines import LineWriter
from gateway.log import get as get_logger
from gateway.migrating import (
    SchemaFault,
    look_at_postgres,
    look_at_sqlite,
    migrate_postgres,
    migrate_sqlite,
)
from gateway.query import ErrorAnswer, read_query
from gateway.rates import Rate, check_budget, parse_rate
from gateway.reading import read as read_usage
from gateway.redis_link import RedisLink, StoreLost
from gateway.redis_wire import Script
from gateway.redis_wire import check_address as check_store_address
from gateway.reply import Head, Reply
from gateway.scopes import Subject, check_scopes, subject_in, subject_of
from gateway.secret import Secret, resolve, scrub
from gateway.splice import get_span, member_names, remove, set_value
from gateway.sqlite import BUSY_S, open_sqlite, sqlite_faults, sqlite_transaction
from gateway.sse import Event, Splitter
from gateway.stated import is_silent, stated_output
from gateway.stores import ID_MAX, StoreAway, StoreRefused, id_after, id_at, open_store
from gateway.summary import record, server_timing
from gateway.times import now_ms, parse_time
from gateway.units import Duration, Size, parse_duration, parse_size
from gateway.usage import BYTES_PER_TOKEN, Usage, estimate_input, may_tell
from gateway.views import KEEP, SKIP, Again, Skip

__all__ = [
    "BUSY_S",
    "BYTES_PER_TOKEN",
    "CACHED",
    "CLIENT_ABORT",
    "COMPLETE",
    "FAILED",
    "ID_MAX",
    "KEEP",
    "PROVIDER_ERROR",
    "REFUSED",
    "SKIP",
    "STOPPED",
    "TRUNCATED",
    "Again",
    "Answered",
    "Attempt",
    "CallerFault",
    "Doc",
    "Duration",
    "Endpoint",
    "ErrorAnswer",
    "Event",
    "Exchange",
    "Gateway",
    "GatewayError",
    "Head",
    "Headers",
    "Identity",
    "LineWriter",
    "OwnFault",
    "Rate",
    "RedisLink",
    "Reply",
    "Request",
    "Route",
    "SchemaFault",
    "Script",
    "Secret",
    "Size",
    "Skip",
    "Splitter",
    "StartError",
    "StoreAway",
    "StoreLost",
    "StoreRefused",
    "Subject",
    "Target",
    "UpstreamFault",
    "Usage",
    "check_budget",
    "check_scopes",
    "check_store_address",
    "closing_entry",
    "consume",
    "credential_of",
    "estimate_input",
    "get_logger",
    "get_span",
    "has",
    "hookimpl",
    "id_after",
    "id_at",
    "is_form",
    "is_known",
    "is_silent",
    "look_at_postgres",
    "look_at_sqlite",
    "may_tell",
    "member_names",
    "migrate_postgres",
    "migrate_sqlite",
    "now_ms",
    "open_sqlite",
    "open_store",
    "opening_entry",
    "parse_duration",
    "parse_rate",
    "parse_size",
    "parse_time",
    "read_json",
    "read_query",
    "read_usage",
    "record",
    "remove",
    "resolve",
    "scrub",
    "server_timing",
    "set_value",
    "sqlite_faults",
    "sqlite_transaction",
    "stated_output",
    "subject_in",
    "subject_of",
    "unauthorized",
]

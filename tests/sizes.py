"""How large the long tests are: small for `make test`, full for `make battery`. The one table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """bodies: generated bodies that must arrive unchanged, in each direction.
    lone_events: events timed one by one. lone_ms: what the slowest of 99 in 100 may take.
    deaths: rounds of every way in which an upstream dies, for every client.
    departures: rounds of every way in which a caller leaves. departure_ms: when the upstream must
    have seen it, at p99 of all rounds.
    slow_readers, healthy_streams: callers that stop reading, beside streams that do not suffer.
    slow_bytes: what each slow reader has asked for. slow_s: how long the peak lasts.
    healthy_gap_ms: what the gap between two events may grow by.
    stale_posts: POSTs against an upstream that closes idle connections as they are reused.
    strange_posts: POSTs of callers some of which leave at any moment.
    upload_bytes: the large upload that must cost no memory.
    pipelined: requests that a caller sends at once.
    idle_connections: callers that connect and say nothing.
    slow_connections: of each slow attack.
    mutated_requests, mutated_answers: of callers, and of upstreams.
    fuzzed: mutated inputs of each parser of ours.
    smuggled: mutated shapes of request smuggling, sent to real origins.
    kills: of a gateway with requests in flight, and at each of the first `injected` writes of a
    script. shipper_kills: of a process that moves entries into a store.
    rows: of a store that is asked for sums. searched_rows: of one that is searched.
    store_away_s: how long a ledger's store is away.
    replacements: of a gateway by the next one, while so many requests are sent.
    fragmentations: of the streams of each format whose usage is read.
    watched_bytes: a stream that is read so and must cost no memory.
    priced_models: models whose costs are compared with those of genai-prices, at each moment.
    budget_rounds: of many callers at once against one budget.
    limit_rounds: the same against one rate limit of each shape.
    abandoned: exchanges whose callers leave while they hold something of a limit.
    store_lost_s: how long limits have no store, beside the first second. store_back_s: how soon
    they have to find it again. lost_first_ms, lost_later_ms: what a request may wait for that.
    exported_rows: of logs, read in one go.
    near_misses: of keys, none of which may be let in.
    key_store_faults: of the ways in which a store of keys goes away.
    restart_s: how soon another worker must stand in the place of one that died.
    soak_s, fault_every_s: how long the soak lasts, and how often something goes wrong in it.
    soak_growth_bytes: what may be left in memory of what came after the first fifth of it.
    """

    bodies: int
    lone_events: int
    lone_ms: float
    deaths: int
    departures: int
    departure_ms: float
    slow_readers: int
    healthy_streams: int
    slow_bytes: int
    slow_s: float
    healthy_gap_ms: float
    stale_posts: int
    strange_posts: int
    upload_bytes: int
    pipelined: int
    idle_connections: int
    slow_connections: int
    mutated_requests: int
    mutated_answers: int
    fuzzed: int
    smuggled: int
    kills: int
    injected: int
    shipper_kills: int
    rows: int
    searched_rows: int
    store_away_s: float
    replacements: int
    messages: int
    fragmentations: int
    watched_bytes: int
    budget_rounds: int
    limit_rounds: int
    abandoned: int
    store_lost_s: float
    store_back_s: float
    lost_first_ms: float
    lost_later_ms: float
    priced_models: int
    replaced_requests: int
    exported_rows: int
    near_misses: int
    key_store_faults: int
    restart_s: float
    soak_s: float
    fault_every_s: float
    soak_growth_bytes: int


# Times are loose where the machine may be busy with other things; the battery wants an idle one.
SMALL = Sizes(
    bodies=400,
    lone_events=40,
    lone_ms=250,
    deaths=1,
    departures=2,
    departure_ms=1000,
    slow_readers=20,
    healthy_streams=5,
    slow_bytes=50_000_000,
    slow_s=1.0,
    healthy_gap_ms=200,
    stale_posts=400,
    strange_posts=1_600,
    upload_bytes=64_000_000,
    pipelined=200,
    idle_connections=200,
    slow_connections=100,
    mutated_requests=1_000,
    mutated_answers=1_000,
    fuzzed=2_000,
    smuggled=400,
    kills=2,
    injected=3,
    shipper_kills=2,
    rows=10_000,
    searched_rows=3_000,
    store_away_s=1.0,
    replacements=2,
    messages=1_000,
    fragmentations=30,
    watched_bytes=10_000_000,
    budget_rounds=5,
    limit_rounds=1,
    abandoned=100,
    store_lost_s=0.5,
    store_back_s=10.0,
    lost_first_ms=400,
    lost_later_ms=200,
    priced_models=250,
    replaced_requests=300,
    exported_rows=400,
    near_misses=2_000,
    key_store_faults=1,
    restart_s=10.0,
    soak_s=6,
    fault_every_s=0.4,
    soak_growth_bytes=15_000_000,  # it is still warming up
)
FULL = Sizes(
    bodies=10_000,
    lone_events=2_000,
    lone_ms=5,
    deaths=50,
    departures=42,
    departure_ms=100,
    slow_readers=200,
    healthy_streams=50,
    slow_bytes=50_000_000,
    slow_s=10.0,
    healthy_gap_ms=20,
    stale_posts=10_000,
    strange_posts=32_000,
    upload_bytes=500_000_000,
    pipelined=1_000,
    idle_connections=2_000,
    slow_connections=1_000,
    mutated_requests=100_000,
    mutated_answers=20_000,
    fuzzed=200_000,
    smuggled=5_000,
    kills=1_000,
    injected=300,
    shipper_kills=100,
    rows=1_000_000,
    searched_rows=1_000_000,
    store_away_s=300.0,
    replacements=20,
    messages=10_000,
    fragmentations=10_000,
    watched_bytes=100_000_000,
    budget_rounds=500,
    limit_rounds=500,
    abandoned=5_000,
    store_lost_s=10.0,
    store_back_s=3.0,
    lost_first_ms=60,
    lost_later_ms=10,
    priced_models=10_000,
    replaced_requests=20_000,
    exported_rows=10_000,
    near_misses=100_000,
    key_store_faults=2,
    restart_s=1.0,
    soak_s=1200,
    fault_every_s=60,
    soak_growth_bytes=5_000_000,
)

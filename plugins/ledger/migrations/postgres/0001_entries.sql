-- An entry is an exchange's JSON. When it began stands in the first six bytes of its id (UUIDv7).
CREATE TABLE entries (
    id uuid PRIMARY KEY,
    entry jsonb NOT NULL
);

-- Sums by the hour since 1970, kept in the transaction that adds an entry.
CREATE TABLE rollups (
    hour bigint NOT NULL,
    gateway text NOT NULL,
    key text NOT NULL,
    team text NOT NULL,
    "user" text NOT NULL,
    provider text NOT NULL,
    model text NOT NULL,
    outcome text NOT NULL,
    requests bigint NOT NULL,
    attempts bigint NOT NULL,
    fresh_input bigint NOT NULL,
    cache_read bigint NOT NULL,
    cache_write bigint NOT NULL,
    output_text bigint NOT NULL,
    output_reasoning bigint NOT NULL,
    cost_nanousd numeric NOT NULL,
    unpriced bigint NOT NULL,
    estimated bigint NOT NULL,
    duration_us numeric NOT NULL,
    bytes_sent numeric NOT NULL,
    PRIMARY KEY (hour, gateway, key, team, "user", provider, model, outcome)
);

-- How far each journal file has been taken.
CREATE TABLE progress (
    journal text PRIMARY KEY,
    "offset" bigint NOT NULL
);

-- Answers that count once, however often they are asked for again.
CREATE TABLE billed (
    provider text NOT NULL,
    response_id text NOT NULL,
    id uuid NOT NULL,
    PRIMARY KEY (provider, response_id)
);

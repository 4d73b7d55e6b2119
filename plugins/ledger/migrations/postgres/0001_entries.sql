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

-- Answers that count once, however often they are asked for again: which entry counts, and whether
-- that was one of those who ask again.
CREATE TABLE billed (
    provider text NOT NULL,
    response_id text NOT NULL,
    id uuid NOT NULL,
    reported boolean NOT NULL,
    PRIMARY KEY (provider, response_id)
);

-- The same as columns, for people.
CREATE VIEW exchanges AS
SELECT
    id,
    entry ->> 'gateway' AS gateway,
    entry ->> 'key' AS key,
    entry ->> 'team' AS team,
    entry ->> 'user' AS "user",
    entry -> 'metadata' AS metadata,
    entry ->> 'method' AS method,
    entry ->> 'path' AS path,
    entry ->> 'provider' AS provider,
    entry ->> 'model' AS model,
    (entry ->> 'status')::int AS status,
    entry ->> 'outcome' AS outcome,
    entry ->> 'error' AS error,
    coalesce(jsonb_array_length(entry -> 'attempts'), 0) AS attempts,
    (entry ->> 'fresh_input')::bigint AS fresh_input,
    (entry ->> 'cache_read')::bigint AS cache_read,
    (entry ->> 'cache_write')::bigint AS cache_write,
    (entry ->> 'output_text')::bigint AS output_text,
    (entry ->> 'output_reasoning')::bigint AS output_reasoning,
    (entry ->> 'cost_nanousd')::numeric AS cost_nanousd,
    coalesce((entry ->> 'estimated')::boolean, false) AS estimated,
    (entry ->> 'duration_us')::bigint AS duration_us,
    (entry ->> 'ttft_us')::bigint AS ttft_us
FROM entries;

CREATE VIEW attempts AS
SELECT
    id,
    (attempt ->> 'n')::int AS n,
    attempt ->> 'provider' AS provider,
    entry ->> 'model' AS model,
    attempt ->> 'answered_model' AS answered_model,
    (attempt ->> 'status')::int AS status,
    attempt ->> 'error' AS error,
    (attempt ->> 'fresh_input')::bigint AS fresh_input,
    (attempt ->> 'cache_read')::bigint AS cache_read,
    (attempt ->> 'cache_write')::bigint AS cache_write,
    (attempt ->> 'output_text')::bigint AS output_text,
    (attempt ->> 'output_reasoning')::bigint AS output_reasoning,
    (attempt ->> 'cost_nanousd')::numeric AS cost_nanousd,
    coalesce((attempt ->> 'estimated')::boolean, false) AS estimated
FROM entries, jsonb_array_elements(entry -> 'attempts') AS attempt;

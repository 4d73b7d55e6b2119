-- An entry is an exchange's JSON. When it began stands in the first six bytes of its id (UUIDv7).
CREATE TABLE entries (
    id BLOB PRIMARY KEY,
    entry TEXT NOT NULL
) WITHOUT ROWID;

-- Sums by the hour since 1970, kept in the transaction that adds an entry.
CREATE TABLE rollups (
    hour INTEGER NOT NULL,
    gateway TEXT NOT NULL,
    key TEXT NOT NULL,
    team TEXT NOT NULL,
    user TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    outcome TEXT NOT NULL,
    requests INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    fresh_input INTEGER NOT NULL,
    cache_read INTEGER NOT NULL,
    cache_write INTEGER NOT NULL,
    output_text INTEGER NOT NULL,
    output_reasoning INTEGER NOT NULL,
    cost_nanousd INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    estimated INTEGER NOT NULL,
    duration_us INTEGER NOT NULL,
    bytes_sent INTEGER NOT NULL,
    PRIMARY KEY (hour, gateway, key, team, user, provider, model, outcome)
) WITHOUT ROWID;

-- How far each journal file has been taken.
CREATE TABLE progress (
    journal TEXT PRIMARY KEY,
    "offset" INTEGER NOT NULL
) WITHOUT ROWID;

-- Answers that count once, however often they are asked for again: which entry counts, and whether
-- that was one of those who ask again.
CREATE TABLE billed (
    provider TEXT NOT NULL,
    response_id TEXT NOT NULL,
    id BLOB NOT NULL,
    reported INTEGER NOT NULL,
    PRIMARY KEY (provider, response_id)
) WITHOUT ROWID;

-- The same as columns, for people.
CREATE VIEW exchanges AS
SELECT
    entry ->> '$.id' AS id,
    entry ->> '$.gateway' AS gateway,
    entry ->> '$.key' AS key,
    entry ->> '$.team' AS team,
    entry ->> '$.user' AS user,
    entry -> '$.metadata' AS metadata,
    entry ->> '$.method' AS method,
    entry ->> '$.path' AS path,
    entry ->> '$.provider' AS provider,
    entry ->> '$.model' AS model,
    entry ->> '$.status' AS status,
    entry ->> '$.outcome' AS outcome,
    entry ->> '$.error' AS error,
    json_array_length(entry, '$.attempts') AS attempts,
    entry ->> '$.fresh_input' AS fresh_input,
    entry ->> '$.cache_read' AS cache_read,
    entry ->> '$.cache_write' AS cache_write,
    entry ->> '$.output_text' AS output_text,
    entry ->> '$.output_reasoning' AS output_reasoning,
    entry ->> '$.cost_nanousd' AS cost_nanousd,
    coalesce(entry ->> '$.estimated', 0) AS estimated,
    entry ->> '$.duration_us' AS duration_us,
    entry ->> '$.ttft_us' AS ttft_us
FROM entries;

CREATE VIEW attempts AS
SELECT
    entries.entry ->> '$.id' AS id,
    attempt.value ->> '$.n' AS n,
    attempt.value ->> '$.provider' AS provider,
    entries.entry ->> '$.model' AS model,
    attempt.value ->> '$.answered_model' AS answered_model,
    attempt.value ->> '$.status' AS status,
    attempt.value ->> '$.error' AS error,
    attempt.value ->> '$.fresh_input' AS fresh_input,
    attempt.value ->> '$.cache_read' AS cache_read,
    attempt.value ->> '$.cache_write' AS cache_write,
    attempt.value ->> '$.output_text' AS output_text,
    attempt.value ->> '$.output_reasoning' AS output_reasoning,
    attempt.value ->> '$.cost_nanousd' AS cost_nanousd,
    coalesce(attempt.value ->> '$.estimated', 0) AS estimated
FROM entries, json_each(entries.entry, '$.attempts') AS attempt;

-- A row stands for an exchange. Its place orders rows by the exchange's start: milliseconds since
-- 1970 and 15 bits more of its id (UUIDv7). arrival counts up in the order in which rows came;
-- "bytes" is what all of a row takes, about. Numbers of the entry stand here too, to be compared.
CREATE TABLE logs (
    place INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    arrival INTEGER NOT NULL UNIQUE,
    "bytes" INTEGER NOT NULL,
    feedback INTEGER,
    score REAL,
    status INTEGER,
    fresh_input INTEGER,
    cache_read INTEGER,
    cache_write INTEGER,
    output_text INTEGER,
    output_reasoning INTEGER,
    cost_nanousd INTEGER,
    bytes_received INTEGER,
    bytes_sent INTEGER,
    duration_us INTEGER,
    head_us INTEGER,
    ttft_us INTEGER,
    request_type TEXT,
    request_size INTEGER,
    request_is_cut INTEGER,
    response_type TEXT,
    response_size INTEGER,
    response_is_cut INTEGER
);

CREATE INDEX judged ON logs (feedback) WHERE feedback IS NOT NULL;
CREATE INDEX scored ON logs (score) WHERE score IS NOT NULL;

-- Apart, because they are large, and who compares numbers reads none of them.
CREATE TABLE texts (
    place INTEGER PRIMARY KEY,
    entry TEXT NOT NULL,
    request BLOB,
    response BLOB
);

-- What is asked for by word: those of the bodies, and one for each of the entry's facts.
CREATE VIRTUAL TABLE search USING fts5(words, facts, tokenize = "unicode61 remove_diacritics 0");

-- The same as columns, for people.
CREATE VIEW exchanges AS
SELECT
    entry ->> '$.id' AS id,
    entry ->> '$.gateway' AS gateway,
    entry ->> '$.key' AS key,
    entry ->> '$.team' AS team,
    entry ->> '$.user' AS user,
    entry -> '$.metadata' AS metadata,
    entry ->> '$.provider' AS provider,
    entry ->> '$.model' AS model,
    status,
    entry ->> '$.outcome' AS outcome,
    cost_nanousd,
    duration_us,
    feedback,
    score,
    CAST(request AS TEXT) AS request,
    CAST(response AS TEXT) AS response
FROM logs JOIN texts USING (place);

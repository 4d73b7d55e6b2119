-- A row stands for an exchange, whose start is in the first six bytes of its id (UUIDv7). arrival
-- counts up in the order in which rows came; "bytes" is what all of a row takes, about. words are
-- those of the bodies, facts one for each of the entry's. Its numbers stand here too, to be
-- compared.
CREATE TABLE logs (
    id uuid PRIMARY KEY,
    arrival bigint NOT NULL UNIQUE,
    "bytes" bigint NOT NULL,
    feedback smallint,
    score double precision,
    status bigint,
    fresh_input bigint,
    cache_read bigint,
    cache_write bigint,
    output_text bigint,
    output_reasoning bigint,
    cost_nanousd numeric,
    bytes_received bigint,
    bytes_sent bigint,
    duration_us bigint,
    head_us bigint,
    ttft_us bigint,
    request_type text,
    request_size bigint,
    request_is_cut boolean,
    response_type text,
    response_size bigint,
    response_is_cut boolean,
    entry jsonb NOT NULL,
    facts tsvector NOT NULL,
    words tsvector NOT NULL
);

CREATE INDEX logs_search ON logs USING gin (words, facts);
CREATE INDEX logs_judged ON logs (feedback) WHERE feedback IS NOT NULL;
CREATE INDEX logs_scored ON logs (score) WHERE score IS NOT NULL;

-- Apart, because they are large and seldom read.
CREATE TABLE log_bodies (
    id uuid PRIMARY KEY REFERENCES logs ON DELETE CASCADE,
    request bytea,
    response bytea
);

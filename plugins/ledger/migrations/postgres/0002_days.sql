-- The same sums by the day (of UTC, since 1970), kept together with those by the hour, of which a month
-- has far more rows.
CREATE TABLE days (
    day bigint NOT NULL,
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
    PRIMARY KEY (day, gateway, key, team, "user", provider, model, outcome)
);

INSERT INTO days
SELECT
    hour / 24,
    gateway,
    key,
    team,
    "user",
    provider,
    model,
    outcome,
    sum(requests),
    sum(attempts),
    sum(fresh_input),
    sum(cache_read),
    sum(cache_write),
    sum(output_text),
    sum(output_reasoning),
    sum(cost_nanousd),
    sum(unpriced),
    sum(estimated),
    sum(duration_us),
    sum(bytes_sent)
FROM rollups
GROUP BY hour / 24, gateway, key, team, "user", provider, model, outcome;

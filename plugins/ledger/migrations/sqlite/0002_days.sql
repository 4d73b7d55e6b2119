-- The same sums by the day (of UTC, since 1970), kept together with those by the hour, of which a month
-- has far more rows.
CREATE TABLE days (
    day INTEGER NOT NULL,
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
    PRIMARY KEY (day, gateway, key, team, user, provider, model, outcome)
) WITHOUT ROWID;

INSERT INTO days
SELECT
    hour / 24,
    gateway,
    key,
    team,
    user,
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
GROUP BY hour / 24, gateway, key, team, user, provider, model, outcome;

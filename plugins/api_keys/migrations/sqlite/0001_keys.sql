-- document is a key's or a team's fields as JSON; nothing here is a secret but by its SHA-256.
-- Times are milliseconds since 1970.
CREATE TABLE api_teams (
    name TEXT PRIMARY KEY,
    document TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL
);

-- asked is the Idempotency-Key of the request that made it, made what that request said (SHA-256).
CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    team TEXT NOT NULL,
    document TEXT NOT NULL,
    revoked_ms INTEGER,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    asked TEXT UNIQUE,
    made BLOB NOT NULL
);

CREATE INDEX api_keys_of_team ON api_keys (team);

-- A key's secrets: the one of now, and those before it that end at until_ms.
CREATE TABLE api_secrets (
    digest BLOB PRIMARY KEY,
    key_id TEXT NOT NULL,
    hint TEXT NOT NULL,
    until_ms INTEGER
);

CREATE INDEX api_secrets_of_key ON api_secrets (key_id);

CREATE TABLE api_uses (
    key_id TEXT PRIMARY KEY,
    count INTEGER NOT NULL,
    used_ms INTEGER NOT NULL
);

-- Who changed what and when; also what tells other processes where to look.
CREATE TABLE api_changes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms INTEGER NOT NULL,
    who TEXT NOT NULL,
    what TEXT NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    details TEXT NOT NULL
);

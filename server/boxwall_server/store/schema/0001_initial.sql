-- Version 1. Times are microseconds since 1970 UTC. Every key begins with the tenant.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE boxes (
    tenant          TEXT NOT NULL,
    id              TEXT NOT NULL,
    uid             TEXT NOT NULL,
    name            TEXT NOT NULL,
    node_id         TEXT NOT NULL,
    labels          TEXT NOT NULL,  -- JSON object
    runtime         TEXT NOT NULL,
    policy          BLOB NOT NULL,  -- boxwall.v1.NetworkPolicy, canonical
    mode            TEXT NOT NULL,
    policy_revision INTEGER NOT NULL,
    revision        INTEGER NOT NULL,
    expire_time     INTEGER,
    source_snapshot TEXT NOT NULL,
    create_time     INTEGER NOT NULL,
    update_time     INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE UNIQUE INDEX boxes_by_uid ON boxes (tenant, uid);
CREATE INDEX boxes_by_expiry ON boxes (expire_time) WHERE expire_time IS NOT NULL;
CREATE INDEX boxes_by_placement ON boxes (tenant, node_id, id) WHERE node_id != '';

CREATE TABLE box_labels (
    tenant TEXT NOT NULL,
    key    TEXT NOT NULL,
    value  TEXT NOT NULL,
    box_id TEXT NOT NULL,
    PRIMARY KEY (tenant, key, value, box_id),
    FOREIGN KEY (tenant, box_id) REFERENCES boxes (tenant, id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX box_labels_by_box ON box_labels (tenant, box_id);

-- The log of changes. A deleted box has its last uid here.
CREATE TABLE changes (
    revision  INTEGER PRIMARY KEY,
    commit_id BLOB NOT NULL,
    kind      TEXT NOT NULL,
    tenant    TEXT NOT NULL,
    box_id    TEXT NOT NULL,
    box_uid   TEXT NOT NULL
);
CREATE INDEX changes_by_box ON changes (tenant, box_id, revision);

-- Who set which policy: kept apart from the log, and longer.
CREATE TABLE history (
    tenant      TEXT NOT NULL,
    box_uid     TEXT NOT NULL,
    revision    INTEGER NOT NULL,
    policy      BLOB NOT NULL,
    create_time INTEGER NOT NULL,
    author      TEXT NOT NULL,
    request_id  TEXT NOT NULL,
    PRIMARY KEY (tenant, box_uid, revision)
);
CREATE INDEX history_by_time ON history (create_time);

CREATE TABLE snapshots (
    tenant      TEXT NOT NULL,
    id          TEXT NOT NULL,
    box_id      TEXT NOT NULL,
    policy      BLOB NOT NULL,
    mode        TEXT NOT NULL,
    create_time INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
);

CREATE TABLE requests (
    tenant      TEXT NOT NULL,
    id          TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    time        INTEGER NOT NULL,
    answer      TEXT NOT NULL,  -- JSON, see store.answers
    PRIMARY KEY (tenant, id)
);
CREATE INDEX requests_by_time ON requests (time);

CREATE TABLE nodes (
    tenant            TEXT NOT NULL,
    id                TEXT NOT NULL,
    agent_version     TEXT NOT NULL,
    last_contact_time INTEGER,
    applied_revision  INTEGER NOT NULL,
    fenced            INTEGER NOT NULL,
    fence_reason      TEXT NOT NULL,
    PRIMARY KEY (tenant, id)
) WITHOUT ROWID;

-- A node may host a box that does not exist (yet, or any more).
CREATE TABLE attachments (
    tenant  TEXT NOT NULL,
    box_id  TEXT NOT NULL,
    node_id TEXT NOT NULL,
    PRIMARY KEY (tenant, box_id, node_id)
) WITHOUT ROWID;
CREATE INDEX attachments_by_node ON attachments (tenant, node_id, box_id);

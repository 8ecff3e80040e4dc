-- Version 1, in the schema "boxwall". Times are microseconds since 1970 UTC. Every key begins with
-- the tenant. What is compared or ordered is in the order of its characters, whatever the database's
-- language.

CREATE TABLE installation (
    one            boolean PRIMARY KEY DEFAULT true CHECK (one),
    product        text NOT NULL,
    schema_version int NOT NULL
);

-- Where history stands. One row; whoever writes locks it first, so that revisions have no gaps.
CREATE TABLE head (
    one       boolean PRIMARY KEY DEFAULT true CHECK (one),
    epoch     bytea NOT NULL,
    revision  bigint NOT NULL,
    commit_id bytea NOT NULL,
    floor     bigint NOT NULL  -- the revision before the first that the log keeps
) WITH (fillfactor = 10);

CREATE TABLE boxes (
    tenant          text COLLATE "C" NOT NULL,
    id              text COLLATE "C" NOT NULL,
    uid             text COLLATE "C" NOT NULL,
    name            text COLLATE "C" NOT NULL,
    node_id         text COLLATE "C" NOT NULL,
    labels          jsonb NOT NULL,
    runtime         text COLLATE "C" NOT NULL,
    policy          bytea NOT NULL,  -- boxwall.v1.NetworkPolicy, canonical
    mode            text COLLATE "C" NOT NULL,
    policy_revision bigint NOT NULL,
    revision        bigint NOT NULL,
    expire_time     bigint,
    source_snapshot text COLLATE "C" NOT NULL,
    create_time     bigint NOT NULL,
    update_time     bigint NOT NULL,
    PRIMARY KEY (tenant, id)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX boxes_by_uid ON boxes (tenant, uid);
CREATE INDEX boxes_by_expiry ON boxes (expire_time) WHERE expire_time IS NOT NULL;
CREATE INDEX boxes_by_placement ON boxes (tenant, node_id, id) WHERE node_id != '';
CREATE INDEX boxes_by_label ON boxes USING gin (labels jsonb_path_ops);

-- How many boxes each tenant has, so that a limit costs no counting.
CREATE TABLE tenants (
    id    text COLLATE "C" PRIMARY KEY,
    boxes bigint NOT NULL
) WITH (fillfactor = 50);

-- The log of changes, each with the box as it stood: a replica that reads late must not see later
-- states of it.
CREATE TABLE changes (
    revision        bigint PRIMARY KEY,
    commit_id       bytea NOT NULL,
    kind            text COLLATE "C" NOT NULL,
    tenant          text COLLATE "C" NOT NULL,
    box_id          text COLLATE "C" NOT NULL,
    uid             text COLLATE "C" NOT NULL,
    name            text COLLATE "C" NOT NULL,
    node_id         text COLLATE "C" NOT NULL,
    labels          jsonb NOT NULL,
    runtime         text COLLATE "C" NOT NULL,
    policy          bytea NOT NULL,
    mode            text COLLATE "C" NOT NULL,
    policy_revision bigint NOT NULL,
    box_revision    bigint NOT NULL,
    expire_time     bigint,
    source_snapshot text COLLATE "C" NOT NULL,
    create_time     bigint NOT NULL,
    update_time     bigint NOT NULL
);
CREATE INDEX changes_by_box ON changes (tenant, box_id, revision);

-- Who set which policy: kept apart from the log, and longer.
CREATE TABLE history (
    tenant      text COLLATE "C" NOT NULL,
    box_uid     text COLLATE "C" NOT NULL,
    revision    bigint NOT NULL,
    policy      bytea NOT NULL,
    create_time bigint NOT NULL,
    author      text COLLATE "C" NOT NULL,
    request_id  text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, box_uid, revision)
);
CREATE INDEX history_by_time ON history (create_time);

CREATE TABLE snapshots (
    tenant      text COLLATE "C" NOT NULL,
    id          text COLLATE "C" NOT NULL,
    box_id      text COLLATE "C" NOT NULL,
    policy      bytea NOT NULL,
    mode        text COLLATE "C" NOT NULL,
    create_time bigint NOT NULL,
    PRIMARY KEY (tenant, id)
);

CREATE TABLE requests (
    tenant      text COLLATE "C" NOT NULL,
    id          text COLLATE "C" NOT NULL,
    fingerprint bytea NOT NULL,
    time        bigint NOT NULL,
    answer      text NOT NULL,  -- JSON, see store.answers
    PRIMARY KEY (tenant, id)
);
CREATE INDEX requests_by_time ON requests (time);

CREATE TABLE nodes (
    tenant            text COLLATE "C" NOT NULL,
    id                text COLLATE "C" NOT NULL,
    agent_version     text COLLATE "C" NOT NULL,
    last_contact_time bigint,
    applied_revision  bigint NOT NULL,
    fenced            boolean NOT NULL,
    fence_reason      text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, id)
) WITH (fillfactor = 80);
CREATE INDEX nodes_fenced ON nodes (tenant, id) WHERE fenced;

-- The servers that share this database. One whose sign of life is old is dead, and so is what it
-- was told by nodes.
CREATE TABLE replicas (
    id        bytea PRIMARY KEY,
    beat_time timestamptz NOT NULL
) WITH (fillfactor = 20);

-- The last transaction of each server's writer: after a lost connection it tells whether that was
-- committed. Not beside the sign of life, which would wait until the transaction has ended.
CREATE TABLE batches (
    replica bytea PRIMARY KEY,
    batch   bytea NOT NULL,
    time    timestamptz NOT NULL
) WITH (fillfactor = 20);

-- The streams of nodes. A node has one that is not ended: the newest.
CREATE TABLE sessions (
    id               bytea PRIMARY KEY,
    tenant           text COLLATE "C" NOT NULL,
    node_id          text COLLATE "C" NOT NULL,
    replica          bytea NOT NULL REFERENCES replicas (id) ON DELETE CASCADE,
    connect_time     bigint NOT NULL,
    applied_revision bigint NOT NULL DEFAULT 0,
    ended            boolean NOT NULL DEFAULT false  -- replaced; its replica deletes the row when it has closed it
);
CREATE UNIQUE INDEX sessions_of_nodes ON sessions (tenant, node_id) WHERE NOT ended;
CREATE INDEX sessions_to_close ON sessions (replica) WHERE ended;
CREATE INDEX sessions_by_replica ON sessions (replica);

-- A node may host a box that does not exist (yet, or any more). The other columns are what it has
-- said of the box in a session; they count as long as that session lasts.
CREATE TABLE attachments (
    tenant     text COLLATE "C" NOT NULL,
    box_id     text COLLATE "C" NOT NULL,
    node_id    text COLLATE "C" NOT NULL,
    session    bytea,
    answered   bigint NOT NULL DEFAULT 0,
    applied    bigint NOT NULL DEFAULT 0,
    apply_time bigint,
    failure    text NOT NULL DEFAULT '',
    note       text NOT NULL DEFAULT '',
    kept       bigint NOT NULL DEFAULT 0,
    cut        bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, box_id, node_id)
) WITH (fillfactor = 80);
CREATE INDEX attachments_by_node ON attachments (tenant, node_id, box_id);

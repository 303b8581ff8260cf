-- Times are milliseconds since the Unix epoch. Hashes are 32 bytes. Names of clusters and ids of zones are kept once and
-- referred to by number. Text that is compared or sorted is so by its bytes.

create table counters (
    name  text collate "C" not null primary key,
    value bigint not null
);

-- The last arrival number given out. A row and not a sequence: a later commit never shows a smaller number.
insert into counters (name, value) values ('arrival', 0);

-- The last entry of the feed, a row for the same reason; and the last one that was cut from its front.
insert into counters (name, value) values ('feed', 0), ('feed_cut', 0);

create table cluster_names (
    id   integer generated always as identity primary key,
    name text collate "C" not null unique
);

create table clusters (
    cluster_id      integer primary key references cluster_names (id),
    kube_system_uid text not null,
    epoch           bigint not null,
    instance_id     text not null,
    last_seq        bigint not null,
    known           bigint not null,
    session_at      bigint not null
) with (fillfactor = 70);

-- Room is left in each page, so that a new version or verdict stays in it and touches no index. The cluster's row is locked
-- by whoever writes here, so a foreign key would only check it again for each endpoint. A verdict is the number of the zone
-- that accepts the endpoint, or text when it says more.
create table endpoints (
    arrival      bigint not null,
    updated_at   bigint not null,
    cluster_id   integer not null,
    verdict_zone integer,
    key_hash     bytea not null,
    version      bytea not null,
    body         bytea not null,
    verdict      text,
    primary key (cluster_id, key_hash)
) with (fillfactor = 85);
create unique index endpoints_by_arrival on endpoints (arrival);

create table zones (
    id          integer generated always as identity primary key,
    private     integer not null,
    visible     integer not null,
    listed_at   bigint,
    zone        text collate "C" not null unique,
    account     text collate "C" not null,
    environment text not null,
    name        text not null
);

-- `sort_key` is the record key in the bytes whose order is Route 53's list order.
create table records (
    observed_at   bigint not null,
    zone_id       integer not null references zones (id),
    owner_cluster integer references cluster_names (id),
    sort_key      bytea not null,
    owner_batch   bytea,
    drift         text,
    raw           bytea not null,
    primary key (zone_id, sort_key)
);

create table claims (
    since      bigint not null,
    zone_id    integer not null references zones (id),
    cluster_id integer not null references cluster_names (id),
    name       text collate "C" not null,
    primary key (zone_id, name)
);

-- The journal: entries are appended, never changed. `hash` covers the hash before it, so nobody changes one unseen. Retention
-- deletes from the front what the account's anchor covers.
create table journal (
    seq     bigint not null,
    account text collate "C" not null,
    hash    bytea not null,
    entry   text not null,
    primary key (account, seq)
);

-- Where each chain begins once its front was cut: the last entry that is gone. The chain has an entry that says the same.
create table journal_anchors (
    seq     bigint not null,
    account text collate "C" not null primary key,
    hash    bytea not null
);

create function journal_anchors_move_on() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' and new.seq > old.seq and new.account = old.account then
        return new;
    end if;
    raise exception 'the journal is append-only: its beginning moves on, never back';
end
$$;

create trigger journal_anchors_are_kept before update or delete on journal_anchors
    for each row execute function journal_anchors_move_on();
create trigger journal_anchors_are_not_truncated before truncate on journal_anchors
    for each statement execute function journal_anchors_move_on();

create function journal_is_append_only() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' and exists (select 1 from journal_anchors where account = old.account and seq >= old.seq) then
        return old;
    end if;
    raise exception 'the journal is append-only: an entry cannot be changed or deleted';
end
$$;

create trigger journal_is_not_changed before update or delete on journal
    for each row execute function journal_is_append_only();
create trigger journal_is_not_truncated before truncate on journal
    for each statement execute function journal_is_append_only();

-- Where each chain ends, so that cutting its tail off is noticed; also the lock under which an account's chain grows.
create table journal_heads (
    seq     bigint not null,
    account text collate "C" not null primary key,
    hash    bytea not null
);

-- What the journal says, in a form to query: made from it, and never read by it.
create table batches (
    journal_seq bigint not null,
    planned_at  bigint not null,
    finished_at bigint,
    zone_id     integer not null references zones (id),
    applied     integer,
    batch_id    bytea not null primary key,
    account     text collate "C" not null,
    outcome     text
);
create index batches_by_account on batches (account, journal_seq);
create index batches_open on batches (account, journal_seq) where outcome is null;

create table changes (
    id         bigint generated always as identity primary key,
    zone_id    integer not null references zones (id),
    cluster_id integer not null references cluster_names (id),
    batch_id   bytea not null references batches (batch_id),
    name       text collate "C" not null,
    rtype      text not null,
    change     text not null
);
create index changes_by_name on changes (name, zone_id, id);
create index changes_by_zone on changes (zone_id, id);
create index changes_by_cluster on changes (cluster_id, id);
create index changes_by_batch on changes (batch_id);

create table spend_horizons (
    until   bigint not null,
    account text collate "C" not null primary key
);

-- The processes that share this database. Times here and in the two tables below are the database's own. Rows are written every
-- few seconds in place: room in the page keeps that from touching an index.
create table replicas (
    expires_at bigint not null,
    left_at    bigint,
    replica    bytea not null primary key,
    address    text not null
) with (fillfactor = 50);

-- Which of them works which account; no holder: nobody. The epoch rises each time that a lease is taken.
create table leases (
    epoch      bigint not null,
    expires_at bigint not null,
    account    text collate "C" not null primary key,
    holder     bytea
) with (fillfactor = 50);

-- What they tell each other, in the order of the commits.
create table feed (
    seq     bigint not null primary key,
    at      bigint not null,
    weight  bigint not null,
    kind    integer not null,
    origin  bytea not null,
    payload bytea not null
);
-- It is packed already.
alter table feed alter column payload set storage external;

-- Times are milliseconds since the Unix epoch. Hashes are 32 bytes. Names of clusters and ids of zones are kept once and
-- referred to by number.

create table counters (
    name  text not null primary key,
    value integer not null
) strict, without rowid;

-- The last arrival number given out. A row and not a sequence: a later commit never shows a smaller number.
insert into counters (name, value) values ('arrival', 0);

create table cluster_names (
    id   integer primary key,
    name text not null unique
) strict;

create table clusters (
    cluster_id      integer primary key references cluster_names (id),
    kube_system_uid text not null,
    epoch           integer not null,
    instance_id     text not null,
    last_seq        integer not null,
    known           integer not null,
    session_at      integer not null
) strict;

-- In the order of arrival, so that a bulk insert appends; the index is as narrow as the key. The cluster's row is
-- locked by whoever writes here, so a foreign key would only check it again for each endpoint. A verdict is the number of the
-- zone that accepts the endpoint, or text when it says more.
create table endpoints (
    arrival      integer primary key,
    cluster_id   integer not null,
    updated_at   integer not null,
    verdict_zone integer,
    key_hash     blob not null,
    version      blob not null,
    body         blob not null,
    verdict      text
) strict;
create unique index endpoints_by_key on endpoints (cluster_id, key_hash);

create table zones (
    id          integer primary key,
    zone        text not null unique,
    account     text not null,
    environment text not null,
    name        text not null,
    private     integer not null,
    visible     integer not null,
    listed_at   integer
) strict;

-- `sort_key` is the record key in the bytes whose order is Route 53's list order.
create table records (
    zone_id       integer not null references zones (id),
    sort_key      blob not null,
    observed_at   integer not null,
    owner_cluster integer references cluster_names (id),
    owner_batch   blob,
    drift         text,
    raw           blob not null,
    primary key (zone_id, sort_key)
) strict, without rowid;

create table claims (
    zone_id    integer not null references zones (id),
    name       text not null,
    cluster_id integer not null references cluster_names (id),
    since      integer not null,
    primary key (zone_id, name)
) strict, without rowid;

-- The journal: entries are appended, never changed. `hash` covers the hash before it, so nobody changes one unseen. Retention
-- deletes from the front what the account's anchor covers.
create table journal (
    account text not null,
    seq     integer not null,
    hash    blob not null,
    entry   text not null,
    primary key (account, seq)
) strict, without rowid;

create trigger journal_is_not_updated before update on journal
begin
    select raise(abort, 'the journal is append-only: an entry cannot be changed');
end;

-- Where each chain begins once its front was cut: the last entry that is gone. The chain has an entry that says the same.
create table journal_anchors (
    account text not null primary key,
    seq     integer not null,
    hash    blob not null
) strict, without rowid;

create trigger journal_anchors_move_on before update on journal_anchors
when new.seq <= old.seq or new.account <> old.account
begin
    select raise(abort, 'the journal is append-only: its beginning moves on, never back');
end;

create trigger journal_anchors_stay before delete on journal_anchors
begin
    select raise(abort, 'the journal is append-only: its beginning cannot be forgotten');
end;

create trigger journal_is_not_deleted before delete on journal
when old.seq > coalesce((select seq from journal_anchors where account = old.account), 0)
begin
    select raise(abort, 'the journal is append-only: an entry cannot be deleted');
end;

-- Where each chain ends, so that cutting its tail off is noticed.
create table journal_heads (
    account text not null primary key,
    seq     integer not null,
    hash    blob not null
) strict, without rowid;

-- What the journal says, in a form to query: made from it, and never read by it.
create table batches (
    batch_id    blob not null primary key,
    account     text not null,
    journal_seq integer not null,
    zone_id     integer not null references zones (id),
    planned_at  integer not null,
    finished_at integer,
    applied     integer,
    outcome     text
) strict, without rowid;
create index batches_by_account on batches (account, journal_seq);
create index batches_open on batches (account, journal_seq) where outcome is null;

create table changes (
    id         integer primary key autoincrement,
    batch_id   blob not null references batches (batch_id),
    zone_id    integer not null references zones (id),
    cluster_id integer not null references cluster_names (id),
    name       text not null,
    rtype      text not null,
    change     text not null
) strict;
create index changes_by_name on changes (name, zone_id, id);
create index changes_by_zone on changes (zone_id, id);
create index changes_by_cluster on changes (cluster_id, id);
create index changes_by_batch on changes (batch_id);

create table spend_horizons (
    account text not null primary key,
    until   integer not null
) strict, without rowid;

-- Which process works which account; no holder: nobody. The epoch rises each time that a lease is taken. There is one process at a
-- time, so a lease does not run out, and nobody is told anything.
create table leases (
    account text not null primary key,
    epoch   integer not null,
    holder  blob
) strict, without rowid;

-- What people, files and the broker by itself decided: entries are appended, never changed. `hash` covers the hash before it, the
-- number and the text, as in the journal. The other columns are what is searched by, and say what the entry says.
create table audit (
    seq         integer primary key,
    at          integer not null,
    hash        blob not null,
    request_id  blob,
    kind        text not null,
    actor       text not null,
    subject     text,
    environment text,
    account     text,
    zone        text,
    zone_id     text,
    cluster     text,
    team        text,
    entry       text not null
) strict;
create index audit_by_time on audit (at, seq);
create index audit_by_kind on audit (kind, subject, seq);
create index audit_by_actor on audit (actor, seq);
create index audit_by_zone on audit (zone, seq) where zone is not null;
create index audit_by_request on audit (request_id, seq) where request_id is not null;

-- The names and patterns that an entry is about.
create table audit_names (
    name text not null,
    seq  integer not null,
    primary key (name, seq)
) strict;

-- Where the chain begins once its front was cut, and where it ends; the lock under which it grows.
create table audit_ends (
    id   integer primary key check (id in (0, 1)),
    seq  integer not null,
    hash blob not null
) strict;

create trigger audit_is_not_updated before update on audit
begin
    select raise(abort, 'the audit is append-only: an entry cannot be changed');
end;
create trigger audit_is_not_deleted before delete on audit
when old.seq > coalesce((select seq from audit_ends where id = 0), 0)
begin
    select raise(abort, 'the audit is append-only: an entry cannot be deleted');
end;
create trigger audit_ends_move_on before update on audit_ends
when new.seq <= old.seq or new.id <> old.id
begin
    select raise(abort, 'the audit is append-only: its ends move on, never back');
end;
create trigger audit_ends_stay before delete on audit_ends
begin
    select raise(abort, 'the audit is append-only: its ends cannot be forgotten');
end;

-- The requests whose words let units of a batch go: the words are used up with it.
create table batch_requests (
    batch_id   blob not null references batches (batch_id) on delete cascade,
    request_id blob not null,
    primary key (batch_id, request_id)
) strict;
create index batch_requests_by_request on batch_requests (request_id);

-- Who held a name before, and until when.
create table past_claims (
    since      integer not null,
    until      integer not null,
    zone_id    integer not null references zones (id),
    cluster_id integer not null references cluster_names (id),
    name       text not null,
    primary key (zone_id, name, until)
) strict;

-- Notifications, one for each entry of the audit and subscription; `claimed_until` keeps the replicas apart that deliver them.
create table notices (
    seq           integer not null,
    made_at       integer not null,
    attempts      integer not null,
    next_at       integer not null,
    claimed_until integer not null,
    ended_at      integer,
    subscription  text not null,
    topic         text not null,
    state         text not null,
    failure       text,
    body          text not null,
    primary key (seq, subscription)
) strict;
create index notices_due on notices (subscription, next_at) where state = 'waiting';
create index notices_by_state on notices (state, seq);

-- The last entry of the audit of which subscribers were told.
insert into counters (name, value) values ('noticed', 0);

-- When each cluster was last connected to a replica.
create table cluster_presence (
    present_at integer not null,
    cluster    text primary key not null
) strict;

-- What the database was when it was written last: another one was restored from a copy.
create table store_identity (
    id       integer primary key check (id = 1),
    identity text not null
) strict;

-- What people, files and the broker by itself decided: entries are appended, never changed. `hash` covers the hash before it, the
-- number and the text, as in the journal. The other columns are what is searched by, and say what the entry says.
create table audit (
    seq         bigint primary key,
    at          bigint not null,
    hash        bytea not null,
    request_id  bytea,
    kind        text collate "C" not null,
    actor       text collate "C" not null,
    subject     text collate "C",
    environment text collate "C",
    account     text collate "C",
    zone        text collate "C",
    zone_id     text collate "C",
    cluster     text collate "C",
    team        text collate "C",
    entry       text not null
);
create index audit_by_time on audit (at, seq);
create index audit_by_kind on audit (kind, subject, seq);
create index audit_by_actor on audit (actor, seq);
create index audit_by_zone on audit (zone, seq) where zone is not null;
create index audit_by_request on audit (request_id, seq) where request_id is not null;

-- The names and patterns that an entry is about.
create table audit_names (
    name text collate "C" not null,
    seq  bigint not null,
    primary key (name, seq)
);

-- Where the chain begins once its front was cut, and where it ends; the lock under which it grows.
create table audit_ends (
    id   integer primary key check (id in (0, 1)),
    seq  bigint not null,
    hash bytea not null
);

create function audit_is_append_only() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' and exists (select 1 from audit_ends where id = 0 and seq >= old.seq) then
        return old;
    end if;
    raise exception 'the audit is append-only: an entry cannot be changed or deleted';
end
$$;
create trigger audit_is_not_changed before update or delete on audit
    for each row execute function audit_is_append_only();
create trigger audit_is_not_truncated before truncate on audit
    for each statement execute function audit_is_append_only();

create function audit_ends_move_on() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' and new.id = old.id and new.seq > old.seq then
        return new;
    end if;
    raise exception 'the audit is append-only: its ends move on, never back';
end
$$;
create trigger audit_ends_are_kept before update or delete on audit_ends
    for each row execute function audit_ends_move_on();
create trigger audit_ends_are_not_truncated before truncate on audit_ends
    for each statement execute function audit_ends_move_on();

-- The requests whose words let units of a batch go: the words are used up with it.
create table batch_requests (
    batch_id   bytea not null references batches (batch_id) on delete cascade,
    request_id bytea not null,
    primary key (batch_id, request_id)
);
create index batch_requests_by_request on batch_requests (request_id);

-- Who held a name before, and until when.
create table past_claims (
    since      bigint not null,
    until      bigint not null,
    zone_id    integer not null references zones (id),
    cluster_id integer not null references cluster_names (id),
    name       text collate "C" not null,
    primary key (zone_id, name, until)
);

-- Notifications, one for each entry of the audit and subscription; `claimed_until` keeps the replicas apart that deliver them.
create table notices (
    seq           bigint not null,
    made_at       bigint not null,
    attempts      bigint not null,
    next_at       bigint not null,
    claimed_until bigint not null,
    ended_at      bigint,
    subscription  text collate "C" not null,
    topic         text collate "C" not null,
    state         text collate "C" not null,
    failure       text,
    body          text not null,
    primary key (seq, subscription)
);
create index notices_due on notices (subscription, next_at) where state = 'waiting';
create index notices_by_state on notices (state, seq);

-- The last entry of the audit of which subscribers were told.
insert into counters (name, value) values ('noticed', 0);

-- When each cluster was last connected to a replica.
create table cluster_presence (
    present_at bigint not null,
    cluster    text collate "C" primary key
);

-- What the database was when it was written last: another one was restored from a copy.
create table store_identity (
    id       integer primary key check (id = 1),
    identity text not null
);

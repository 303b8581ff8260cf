-- What guards count of a batch, so that they go on counting after a restart.
alter table batches add column counted text;
create index batches_counted on batches (account, finished_at) where counted is not null;

-- What needs the word of people, and what came of it. The body says all; the columns are what is searched by.
create table requests (
    request_id bytea not null primary key,
    -- Rises with each write.
    version bigint not null,
    state text not null,
    -- Of what is asked for.
    digest bytea not null,
    made_at bigint not null,
    body text not null
);
create index requests_by_time on requests (made_at);
create index requests_by_digest on requests (digest);

-- The units of change that people let go, each until a batch with it is applied.
create table approvals (
    unit bytea not null,
    request_id bytea not null references requests (request_id),
    given_at bigint not null,
    until bigint not null,
    primary key (unit, request_id)
);

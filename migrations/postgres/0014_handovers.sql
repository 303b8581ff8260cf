-- Hand-overs of names between clusters. The body says all; the columns are what is searched by.
create table handovers (
    handover_id bytea not null primary key,
    -- Rises with each write.
    version bigint not null,
    is_over bigint not null,
    staged_at bigint not null,
    body text not null
);
create index handovers_by_time on handovers (is_over, staged_at);

-- What each account said of a hand-over last, and of which version.
create table handover_reports (
    handover_id bytea not null references handovers (handover_id),
    account text not null,
    version bigint not null,
    body text not null,
    primary key (handover_id, account)
);

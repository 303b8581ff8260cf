-- Hand-overs of names between clusters. The body says all; the columns are what is searched by.
create table handovers (
    handover_id blob not null primary key,
    -- Rises with each write.
    version integer not null,
    is_over integer not null,
    staged_at integer not null,
    body text not null
);
create index handovers_by_time on handovers (is_over, staged_at);

-- What each account said of a hand-over last, and of which version.
create table handover_reports (
    handover_id blob not null references handovers (handover_id),
    account text not null,
    version integer not null,
    body text not null,
    primary key (handover_id, account)
);

-- As in PostgreSQL. One process has nobody to ask, so it stays empty.
create table replica_key (
    id  integer not null primary key check (id = 1),
    key blob not null
) strict;

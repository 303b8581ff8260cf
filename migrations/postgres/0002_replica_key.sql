-- What the replicas sign with when they ask each other on behalf of a caller. The first to start makes it.
create table replica_key (
    id  integer not null primary key check (id = 1),
    key bytea not null
);

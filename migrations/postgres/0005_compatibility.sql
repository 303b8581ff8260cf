-- The newest migration that a release has to know to work on this database. A migration that such a release cannot live with raises
-- it; one that only adds what it does not read leaves it.
create table compatibility (
    id                integer not null primary key check (id = 1),
    minimum_migration bigint not null
);
insert into compatibility (id, minimum_migration) values (1, 5);

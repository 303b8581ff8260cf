-- Which release each replica is of; on SQLite there is one, which does not write here.
alter table replicas add column release text not null default '0.1.0';

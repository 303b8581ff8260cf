-- Which release each replica is of. Without a default: a replica of a release that does not name itself, which could neither read nor
-- keep what newer ones write, can no longer join.
alter table replicas add column release text not null default '0.1.0';
alter table replicas alter column release drop default;

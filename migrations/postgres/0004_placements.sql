-- Where each endpoint goes: a rising number, the zones where it is published and, behind a slash, those that it is leaving, as in
-- `2:7,9/4`; and the version that this was decided for. The release before kept the place with the verdict and not for which
-- version: those placements have none.
alter table endpoints add column placed_version bytea;
alter table endpoints add column placed text collate "C";

update endpoints set placed = '0:' || verdict_zone where verdict_zone is not null;
update endpoints
   set placed = '0:' || zones.id
  from zones
 where verdict_zone is null and verdict is not null and zones.zone = (verdict::json -> 'placement' ->> 'zone') collate "C";

-- The accounts of which all zones were listed at least once.
create table listed_accounts (
    listed_at bigint not null,
    account   text collate "C" not null primary key
);

insert into listed_accounts (account, listed_at)
select account, coalesce(max(listed_at), 0) from zones group by account;

-- Where each endpoint goes: a rising number, the zones where it is published and, behind a slash, those that it is leaving, as in
-- `2:7,9/4`; and the version that this was decided for. The release before kept the place with the verdict and not for which
-- version: those placements have none.
alter table endpoints add column placed_version blob;
alter table endpoints add column placed text;

update endpoints set placed = '0:' || verdict_zone where verdict_zone is not null;
update endpoints
   set placed = '0:' || (select zones.id from zones where zones.zone = json_extract(verdict, '$.placement.zone'))
 where verdict_zone is null and json_extract(verdict, '$.placement.zone') is not null;

-- The accounts of which all zones were listed at least once.
create table listed_accounts (
    account   text not null primary key,
    listed_at integer not null
) strict, without rowid;

insert into listed_accounts (account, listed_at)
select account, coalesce(max(listed_at), 0) from zones group by account;

-- A file has one replica, which is not noted in it.
select 1;

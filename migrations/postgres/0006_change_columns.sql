-- What a change did (`create`, `update` or `delete`), and the set identifier of its record set, null for the simple policy. Both are null
-- until they are read from the change, in a row of a release that does not know them.
alter table changes add column action text;
alter table changes add column set_identifier text collate "C";

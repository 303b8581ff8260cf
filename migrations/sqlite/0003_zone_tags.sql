-- The tags of a zone as the last discovery found them, as JSON; null if no rule asked for them.
alter table zones add column tags text;

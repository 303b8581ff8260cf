-- The sets of rules that counted, one after the other. The one with the highest number counts.
create table rule_sets (
    number integer primary key,
    -- Of the whole set, and of those of its rules that live in files.
    digest blob not null,
    files blob not null,
    rules text not null,
    accepted_at integer not null,
    accepted_by text not null,
    reason text
);
create index rule_sets_files on rule_sets (files);

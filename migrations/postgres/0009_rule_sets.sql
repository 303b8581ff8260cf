-- The sets of rules that counted, one after the other. The one with the highest number counts.
create table rule_sets (
    number bigint primary key,
    -- Of the whole set, and of those of its rules that live in files.
    digest bytea not null,
    files bytea not null,
    rules text not null,
    accepted_at bigint not null,
    accepted_by text not null,
    reason text
);
create index rule_sets_files on rule_sets (files);

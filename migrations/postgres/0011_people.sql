-- Sessions of people, and tokens of people and of machines. Of the secret itself only its SHA-256 is kept.
create table credentials (
    credential_id bytea not null primary key,
    hash bytea not null unique,
    -- session, person or machine
    kind text not null,
    name text not null,
    -- The person whose it is; empty for a machine's.
    holder text not null,
    made_at bigint not null,
    ends_at bigint not null,
    revoked_at bigint,
    used_at bigint,
    -- All else that is known of it.
    body text not null
);
create index credentials_by_time on credentials (made_at);
create index credentials_by_holder on credentials (holder, made_at);
create unique index credentials_by_name on credentials (kind, holder, name) where kind <> 'session' and revoked_at is null;

-- Programs that people sign in with: a code that is good once, for a minute.
create table sign_in_codes (
    hash bytea not null primary key,
    ends_at bigint not null,
    body text not null
);

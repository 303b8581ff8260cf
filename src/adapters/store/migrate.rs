//! The schema, embedded in the binary. Migrations expand first and contract in a later version, so that two versions can
//! run side by side while a roll-out lasts.
//!
//! A database that a newer version migrated names the migration that a release has to know to work on it: a release that
//! knows less is refused; any other works on, without the newer version's additions. Each migration is a transaction of its own.

use std::borrow::Cow;

use sqlx::migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::SqlitePool;
use sqlx::{PgConnection, SqlStr};

use super::clock::clock;
use super::error::{from_migration, from_sqlx};
use crate::ports::StoreError;

const SQLITE: &[(i64, &str, &str)] = &[
    (1, "base", include_str!("../../../migrations/sqlite/0001_base.sql")),
    (2, "replica key", include_str!("../../../migrations/sqlite/0002_replica_key.sql")),
    (3, "zone tags", include_str!("../../../migrations/sqlite/0003_zone_tags.sql")),
    (4, "placements", include_str!("../../../migrations/sqlite/0004_placements.sql")),
    (5, "compatibility", include_str!("../../../migrations/sqlite/0005_compatibility.sql")),
    (6, "change columns", include_str!("../../../migrations/sqlite/0006_change_columns.sql")),
    (7, "changes filled", include_str!("../../../migrations/sqlite/0007_changes_filled.sql")),
    (8, "replica release", include_str!("../../../migrations/sqlite/0008_replica_release.sql")),
    (9, "rule sets", include_str!("../../../migrations/sqlite/0009_rule_sets.sql")),
    (10, "releases", include_str!("../../../migrations/sqlite/0010_releases.sql")),
    (11, "people", include_str!("../../../migrations/sqlite/0011_people.sql")),
    (12, "audit", include_str!("../../../migrations/sqlite/0012_audit.sql")),
    (14, "handovers", include_str!("../../../migrations/sqlite/0014_handovers.sql")),
];
const POSTGRES: &[(i64, &str, &str)] = &[
    (1, "base", include_str!("../../../migrations/postgres/0001_base.sql")),
    (2, "replica key", include_str!("../../../migrations/postgres/0002_replica_key.sql")),
    (3, "zone tags", include_str!("../../../migrations/postgres/0003_zone_tags.sql")),
    (4, "placements", include_str!("../../../migrations/postgres/0004_placements.sql")),
    (5, "compatibility", include_str!("../../../migrations/postgres/0005_compatibility.sql")),
    (6, "change columns", include_str!("../../../migrations/postgres/0006_change_columns.sql")),
    (7, "changes filled", include_str!("../../../migrations/postgres/0007_changes_filled.sql")),
    (8, "replica release", include_str!("../../../migrations/postgres/0008_replica_release.sql")),
    (9, "rule sets", include_str!("../../../migrations/postgres/0009_rule_sets.sql")),
    (10, "releases", include_str!("../../../migrations/postgres/0010_releases.sql")),
    (11, "people", include_str!("../../../migrations/postgres/0011_people.sql")),
    (12, "audit", include_str!("../../../migrations/postgres/0012_audit.sql")),
    (14, "handovers", include_str!("../../../migrations/postgres/0014_handovers.sql")),
];

/// The key of the lock that a migration holds in the database: the octets of `zonefold`.
const LOCK: i64 = i64::from_be_bytes(*b"zonefold");

/// The minimum in a database that has one.
const MINIMUM: &str = "select minimum_migration from compatibility where id = 1";

/// Migrates a SQLite file. A second process that starts at once waits for its turn to write, then finds a migration done.
pub(super) async fn sqlite(writer: &SqlitePool) -> Result<(), StoreError> {
    let mut migrator = migrator(SQLITE);
    let versions: Vec<i64> = migrator.iter().map(|migration| migration.version).collect();
    let mut beyond = None;
    for version in versions {
        let mut transaction = writer.begin_with("begin immediate").await.map_err(from_sqlx)?;
        let exists =
            "select count(*) from sqlite_schema where type = 'table' and name = 'compatibility'";
        let exists: i64 =
            sqlx::query_scalar(exists).fetch_one(&mut *transaction).await.map_err(from_sqlx)?;
        let minimum = match exists {
            0 => None,
            _ => sqlx::query_scalar(MINIMUM)
                .fetch_optional(&mut *transaction)
                .await
                .map_err(from_sqlx)?,
        };
        beyond = newer(&migrator, &applied(&mut *transaction).await?, minimum)?;
        migrator.set_ignore_missing(beyond.is_some());
        migrator
            .run_direct(Some(version), &mut *transaction, false)
            .await
            .map_err(from_migration)?;
        transaction.commit().await.map_err(from_sqlx)?;
    }
    note(beyond);
    Ok(())
}

/// Migrates a PostgreSQL database on a connection of its own. Processes that start at once take turns, for as long as it takes; a
/// migration runs as long as it has to, and waits for another's lock on a table no longer than any statement does.
pub(super) async fn postgres(connection: &mut PgConnection) -> Result<(), StoreError> {
    let lock_wait: String = sqlx::query_scalar("select current_setting('lock_timeout')")
        .fetch_one(&mut *connection)
        .await
        .map_err(from_sqlx)?;
    // That a table exists already is no news.
    let run = "
        select set_config('statement_timeout', '0', false), set_config('lock_timeout', $1, false),
               set_config('client_min_messages', 'warning', false)";
    sqlx::query(run).bind("0").execute(&mut *connection).await.map_err(from_sqlx)?;
    // Given back with the connection.
    let lock = sqlx::query("select pg_advisory_lock($1)").bind(LOCK);
    lock.execute(&mut *connection).await.map_err(from_sqlx)?;
    sqlx::query(run).bind(lock_wait).execute(&mut *connection).await.map_err(from_sqlx)?;
    let exists: bool = sqlx::query_scalar("select to_regclass('compatibility') is not null")
        .fetch_one(&mut *connection)
        .await
        .map_err(from_sqlx)?;
    let minimum = if exists {
        sqlx::query_scalar(MINIMUM).fetch_optional(&mut *connection).await.map_err(from_sqlx)?
    } else {
        None
    };
    let mut migrator = migrator(POSTGRES);
    let applied = applied(connection).await?;
    let beyond = newer(&migrator, &applied, minimum)?;
    if applied.last() == Some(&1) {
        refuse_beside_0_1_0(connection).await?;
    }
    note(beyond);
    migrator.set_ignore_missing(beyond.is_some());
    migrator.run_direct(None, connection, false).await.map_err(from_migration)
}

/// Refuses to migrate while a replica of 0.1.0 works on the database: it could not read what is written from then on, and would go
/// on with what it knew. Its row expires with its leases.
async fn refuse_beside_0_1_0(connection: &mut PgConnection) -> Result<(), StoreError> {
    const ALIVE: &str = concat!(
        "select address from replicas where left_at is null and expires_at > ",
        clock!(),
        " order by address"
    );
    let replicas: Vec<String> =
        sqlx::query_scalar(ALIVE).fetch_all(connection).await.map_err(from_sqlx)?;
    if replicas.is_empty() {
        return Ok(());
    }
    Err(StoreError::OlderReplicas { release: "0.1.0", replicas })
}

/// The migrations that the database has.
async fn applied<C: Migrate>(connection: &mut C) -> Result<Vec<i64>, StoreError> {
    let table = &Migrator::DEFAULT.table_name;
    connection.ensure_migrations_table(table).await.map_err(from_migration)?;
    let applied = connection.list_applied_migrations(table).await.map_err(from_migration)?;
    Ok(applied.into_iter().map(|migration| migration.version).collect())
}

/// The newest migration of the database that is unknown here, if there is one. Refused unless a release that knows as much
/// as this one may work on the database.
fn newer(
    migrator: &Migrator,
    applied: &[i64],
    minimum: Option<i64>,
) -> Result<Option<i64>, StoreError> {
    let unknown = applied.iter().copied().rfind(|version| !migrator.version_exists(*version));
    let Some(unknown) = unknown else { return Ok(None) };
    let known = migrator.iter().map(|migration| migration.version).max().unwrap_or_default();
    if minimum.is_some_and(|minimum| minimum <= known) {
        return Ok(Some(unknown));
    }
    Err(from_migration(MigrateError::VersionMissing(unknown)))
}

fn note(newer: Option<i64>) {
    if let Some(migration) = newer {
        tracing::info!(
            migration,
            "the database was migrated by a newer version of zonefold that this one can run beside"
        );
    }
}

fn migrator(migrations: &[(i64, &'static str, &'static str)]) -> Migrator {
    let make = |&(version, description, sql): &(i64, &'static str, &'static str)| {
        Migration::new(
            version,
            Cow::Borrowed(description),
            MigrationType::Simple,
            SqlStr::from_static(sql),
            false,
        )
    };
    Migrator::with_migrations(migrations.iter().map(make).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_migrations_are_let_be_by_whoever_knows_the_minimum() {
        let migrator = migrator(SQLITE);
        let newest = SQLITE.last().unwrap().0;
        let ask = |applied: &[i64], minimum| newer(&migrator, applied, minimum).ok();
        assert_eq!(ask(&[1, 2], None), Some(None));
        assert_eq!(ask(&[1, newest + 1], Some(newest)), Some(Some(newest + 1)));
        assert_eq!(ask(&[1, newest + 1], Some(newest + 1)), None);
        assert_eq!(ask(&[1, newest + 1], None), None, "the minimum is missing");
    }

    #[test]
    fn both_databases_have_the_same_migrations() {
        let names = |list: &[(i64, &'static str, &'static str)]| {
            list.iter().map(|(v, d, _)| (*v, *d)).collect::<Vec<_>>()
        };
        assert_eq!(names(SQLITE), names(POSTGRES));
    }
}

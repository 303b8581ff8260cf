//! The schema, embedded in the binary. Migrations expand first and contract in a later version, so that two versions can
//! run beside each other while a roll-out lasts.

use std::borrow::Cow;

use sqlx::SqlStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

const SQLITE: &[(i64, &str, &str)] = &[
    (1, "base", include_str!("../../../migrations/sqlite/0001_base.sql")),
    (2, "replica key", include_str!("../../../migrations/sqlite/0002_replica_key.sql")),
    (3, "zone tags", include_str!("../../../migrations/sqlite/0003_zone_tags.sql")),
    (4, "placements", include_str!("../../../migrations/sqlite/0004_placements.sql")),
];
const POSTGRES: &[(i64, &str, &str)] = &[
    (1, "base", include_str!("../../../migrations/postgres/0001_base.sql")),
    (2, "replica key", include_str!("../../../migrations/postgres/0002_replica_key.sql")),
    (3, "zone tags", include_str!("../../../migrations/postgres/0003_zone_tags.sql")),
    (4, "placements", include_str!("../../../migrations/postgres/0004_placements.sql")),
];

/// The migrations of SQLite.
pub(super) fn sqlite() -> Migrator {
    migrator(SQLITE)
}

/// The migrations of PostgreSQL.
pub(super) fn postgres() -> Migrator {
    migrator(POSTGRES)
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
    fn both_databases_have_the_same_migrations() {
        let names = |list: &[(i64, &'static str, &'static str)]| {
            list.iter().map(|(v, d, _)| (*v, *d)).collect::<Vec<_>>()
        };
        assert_eq!(names(SQLITE), names(POSTGRES));
    }
}

//! Errors of the databases, as errors of the port.

use std::fmt::Display;

use sqlx::migrate::MigrateError;

use crate::ports::StoreError;

/// A row that cannot be read back.
pub(super) fn corrupt(what: impl Display, reason: impl Display) -> StoreError {
    StoreError::Corrupt { what: what.to_string(), reason: reason.to_string() }
}

/// Tells apart what may be tried again, what is damaged, and what is a defect.
pub(super) fn from_sqlx(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Database(error) => from_database(&*error),
        sqlx::Error::ColumnDecode { index, source } => corrupt(format_args!("column {index}"), source),
        sqlx::Error::ColumnNotFound(_) | sqlx::Error::ColumnIndexOutOfBounds { .. } | sqlx::Error::Decode(_) => {
            corrupt("row", error)
        }
        sqlx::Error::Configuration(_) | sqlx::Error::Encode(_) | sqlx::Error::InvalidArgument(_) => {
            StoreError::Refused(error.to_string())
        }
        sqlx::Error::PoolTimedOut => StoreError::Unavailable(
            "no connection became free in time; the database is slow, or too few connections are allowed".into(),
        ),
        other => StoreError::Unavailable(other.to_string()),
    }
}

fn from_database(error: &dyn sqlx::error::DatabaseError) -> StoreError {
    let code = error.code().unwrap_or_default();
    let message = format!("{} (code {code})", error.message());
    if error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
        // Classes of SQLSTATE: connection, transaction rollback, resources, object state, operator intervention, system.
        let again =
            ["08", "40", "53", "55", "57", "58"].iter().any(|class| code.starts_with(class));
        // The server ended a transaction whose client did nothing for too long, or that ran for too long.
        let ended = ["25P03", "25P04"].contains(&&*code);
        return match () {
            () if again || ended => StoreError::Unavailable(message),
            () if code.starts_with("XX") => corrupt("PostgreSQL page or index", message),
            () => StoreError::Refused(message),
        };
    }
    // SQLite: the primary code is the low byte of the extended one.
    match code.parse::<u32>().map(|code| code & 0xff) {
        // BUSY, LOCKED, NOMEM, INTERRUPT, IOERR, FULL, CANTOPEN, PROTOCOL
        Ok(5 | 6 | 7 | 9 | 10 | 13 | 14 | 15) => StoreError::Unavailable(message),
        // CORRUPT, NOTADB
        Ok(11 | 26) => corrupt("SQLite page", message),
        _ => StoreError::Refused(message),
    }
}

/// Migration errors, with what to do.
pub(super) fn from_migration(error: MigrateError) -> StoreError {
    match error {
        MigrateError::VersionMissing(version) => StoreError::Refused(format!(
            "the database was written by a newer version of zonefold (migration {version} is unknown here); run that version or a newer one, or restore a backup"
        )),
        MigrateError::VersionMismatch(version) => StoreError::Refused(format!(
            "migration {version} in the database is not the one of this version of zonefold; run the version that made the database, or begin with an empty one: before the first release the base schema may change"
        )),
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => from_sqlx(error),
        other => StoreError::Refused(other.to_string()),
    }
}

//! Where the store is, as a person writes it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;

use crate::ports::StoreError;

/// The address of a database: `sqlite:PATH`, `sqlite::memory:` or `postgres://USER:PASSWORD@HOST:PORT/DATABASE`.
///
/// It prints without its password, so it may stand in logs and errors.
#[derive(Clone)]
pub struct StoreUrl(pub(super) Location);

/// The three places where a store can be.
#[derive(Clone)]
pub(super) enum Location {
    /// SQLite in a file.
    File(PathBuf),
    /// SQLite in memory: gone when the process ends.
    Memory,
    /// A PostgreSQL server.
    Postgres(Box<PgConnectOptions>),
}

/// Why a text is not the address of a store. It does not repeat the text, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreUrlError {
    /// Neither of the two kinds.
    #[error(
        "the store's address starts with neither sqlite: nor postgres://; write sqlite:PATH or postgres://USER@HOST/DATABASE"
    )]
    UnknownKind,
    /// `sqlite:` and nothing after it.
    #[error(
        "the store's address names no file; write sqlite:PATH, or sqlite::memory: for a store that ends with the process"
    )]
    NoPath,
    /// Not a URL.
    #[error(
        "the store's address is not a PostgreSQL URL; write postgres://USER:PASSWORD@HOST:PORT/DATABASE and percent-encode special characters"
    )]
    NotAUrl,
    /// A URL without a database.
    #[error("the store's address names no database; write postgres://USER@HOST/DATABASE")]
    NoDatabase,
}

impl FromStr for StoreUrl {
    type Err = StoreUrlError;

    fn from_str(text: &str) -> Result<Self, StoreUrlError> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            return match path.strip_prefix("//").unwrap_or(path) {
                ":memory:" => Ok(Self(Location::Memory)),
                "" => Err(StoreUrlError::NoPath),
                path => Ok(Self(Location::File(PathBuf::from(path)))),
            };
        }
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(StoreUrlError::UnknownKind);
        }
        let options = PgConnectOptions::from_str(text).map_err(|_| StoreUrlError::NotAUrl)?;
        if options.get_database().is_none_or(str::is_empty) {
            return Err(StoreUrlError::NoDatabase);
        }
        Ok(Self(Location::Postgres(Box::new(options))))
    }
}

impl From<StoreUrlError> for StoreError {
    fn from(error: StoreUrlError) -> Self {
        Self::Refused(error.to_string())
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Location::File(path) => write!(f, "sqlite:{}", path.display()),
            Location::Memory => f.write_str("sqlite::memory:"),
            Location::Postgres(options) => {
                let host = options.get_socket().map_or_else(
                    || options.get_host().to_owned(),
                    |path| path.display().to_string(),
                );
                let database = options.get_database().unwrap_or_default();
                write!(
                    f,
                    "postgres://{}@{host}:{}/{database}",
                    options.get_username(),
                    options.get_port()
                )
            }
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_prints_without_its_password() {
        let url: StoreUrl =
            "postgres://zonefold:s3cret@db.example.com:5433/zf?sslmode=require".parse().unwrap();
        assert_eq!(url.to_string(), "postgres://zonefold@db.example.com:5433/zf");
        assert_eq!(format!("{url:?}"), url.to_string());
    }

    #[test]
    fn a_file_is_named_with_or_without_slashes() {
        for (text, shown) in [
            ("sqlite:data/zf.db", "sqlite:data/zf.db"),
            ("sqlite:///var/lib/zf.db", "sqlite:/var/lib/zf.db"),
            ("sqlite::memory:", "sqlite::memory:"),
        ] {
            assert_eq!(text.parse::<StoreUrl>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn a_bad_address_is_refused_without_being_repeated() {
        for (text, error) in [
            ("", StoreUrlError::UnknownKind),
            ("mysql://root:s3cret@db/zf", StoreUrlError::UnknownKind),
            ("sqlite:", StoreUrlError::NoPath),
            ("postgres://user:s3cret@db:port/zf", StoreUrlError::NotAUrl),
            ("postgres://user:s3cret@db/zf?sslmode=s3cret", StoreUrlError::NotAUrl),
            ("postgres://user:s3cret@db", StoreUrlError::NoDatabase),
        ] {
            assert_eq!(text.parse::<StoreUrl>().unwrap_err(), error, "{text:?}");
            assert!(!error.to_string().contains("s3cret"));
        }
    }
}

//! Programs of the virtual environment that the setup makes.

use std::path::{Path, PathBuf};

/// The path of a program, which has to be there.
pub fn program(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/python/bin").join(name);
    assert!(path.exists(), "{} is not there: run make setup", path.display());
    path
}

//! The folder of one benchmark.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::say;

const NO_GUARDS: &str = "\
apiVersion: zonefold.dev/v1
kind: Guard
metadata: { name: \"off\" }
spec: { enabled: false }
";

/// A folder that is removed at the end.
pub struct Folder(PathBuf);

impl Folder {
    /// Makes one, in the system's temporary folder unless another is named.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make(inside: Option<&Path>) -> anyhow::Result<Self> {
        let parent = inside.map_or_else(std::env::temp_dir, Path::to_owned);
        let path = parent.join(format!("zonefold-bench-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&path).with_context(|| {
            format!("the folder {} cannot be made: choose another with --folder", path.display())
        })?;
        Ok(Self(path))
    }

    /// A folder of rules under which no guard counts: what is measured changes more at once than a guard lets go.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn without_guards(&self) -> anyhow::Result<PathBuf> {
        let folder = self.0.join("rules");
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("guards.yaml"), NO_GUARDS)?;
        Ok(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            say(&format!("the folder {} could not be removed: {error}", self.0.display()));
        }
    }
}

//! A folder of manifests, read as a whole: what it holds now, and what must be kept because it cannot be read now.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use arcstr::ArcStr;
use sha2::{Digest as _, Sha256};

use super::documents::{self, Documents, MAX_FILE_BYTES, Placed};
use crate::agent::sources::{ObjectRef, SourceKind};

/// How deep folders may be nested.
const MAX_DEPTH: usize = 32;

/// Why a folder cannot be read as a whole.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The folder itself cannot be listed.
    #[error("the manifest folder {} cannot be read: {reason}; its earlier content stays", path.display())]
    Unreadable {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        reason: io::Error,
    },
}

/// The state of a folder from one pass to the next.
#[derive(Default)]
pub struct Folder {
    files: BTreeMap<PathBuf, FileMemory>,
}

#[derive(Default)]
struct FileMemory {
    content_hash: [u8; 32],
    /// The objects that count: those of the last reading, and older ones while the file cannot be read completely.
    objects: BTreeMap<ObjectRef, Placed>,
    errors: Vec<(Option<SourceKind>, String)>,
}

/// The contents of a folder, in the order of its files.
#[derive(Default)]
pub struct Pass {
    /// Each object once, with the place that it was read from.
    pub objects: BTreeMap<ObjectRef, (ArcStr, Placed)>,
    /// Two files that hold the same object, for people.
    pub duplicates: Vec<String>,
    /// Read errors, with their source; `None` if it could be any.
    pub errors: Vec<(Option<SourceKind>, String)>,
}

impl Pass {
    /// Why a source is not complete; `None` if it is.
    pub fn error_of(&self, source: SourceKind) -> Option<&str> {
        let mut errors =
            self.errors.iter().filter(|(kind, _)| kind.is_none_or(|kind| kind == source));
        errors.next().map(|(_, message)| message.as_str())
    }
}

#[derive(Default)]
struct Listing {
    files: BTreeSet<PathBuf>,
    /// Folders below which nothing is known now.
    blind: Vec<(PathBuf, String)>,
    visited: BTreeSet<PathBuf>,
}

impl Folder {
    /// Reads the folder. A file that is gone takes its objects with it; one that cannot be read keeps those it had.
    pub fn pass(&mut self, root: &Path) -> Result<Pass, FolderError> {
        let unreadable = |reason| FolderError::Unreadable { path: root.to_owned(), reason };
        let mut listing = Listing::default();
        let canonical = fs::canonicalize(root).map_err(unreadable)?;
        listing.visited.insert(canonical);
        listing.walk(root, 0).map_err(unreadable)?;
        let Listing { files, blind, .. } = listing;
        self.files.retain(|path, _| {
            files.contains(path) || blind.iter().any(|(folder, _)| path.starts_with(folder))
        });
        for path in &files {
            self.files.entry(path.clone()).or_default().read(path);
        }
        let mut pass = self.collect(root);
        pass.errors.extend(blind.into_iter().map(|(_, message)| (None, message)));
        Ok(pass)
    }

    fn collect(&self, root: &Path) -> Pass {
        let mut pass = Pass::default();
        for (path, file) in &self.files {
            let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
            for (reference, placed) in &file.objects {
                if let Some((first, _)) = pass.objects.get(reference) {
                    pass.duplicates
                        .push(format!("{reference} stands in {first} and in {name}: the first is used; remove the other"));
                    continue;
                }
                pass.objects
                    .insert(reference.clone(), (ArcStr::from(name.as_str()), placed.clone()));
            }
            pass.errors.extend(
                file.errors.iter().map(|(kind, message)| (*kind, format!("{name}: {message}"))),
            );
        }
        pass
    }
}

impl Listing {
    fn walk(&mut self, folder: &Path, depth: usize) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            // Hidden files are editors' and git's; `..data` is where a ConfigMap keeps the targets of its links.
            if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
                continue;
            }
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => self.descend(path, depth + 1),
                Ok(metadata) if metadata.is_file() && is_manifest(&path) => {
                    self.files.insert(path);
                }
                Ok(_) => {}
                // A link whose target is being replaced: reading it says so.
                Err(_) if is_manifest(&path) => drop(self.files.insert(path)),
                Err(error) => self.blind_to(path, &error.to_string()),
            }
        }
        Ok(())
    }

    fn descend(&mut self, folder: PathBuf, depth: usize) {
        // A link to a folder above would never end.
        let walked = match fs::canonicalize(&folder) {
            Ok(canonical) if self.visited.contains(&canonical) => Ok(()),
            Ok(_) if depth > MAX_DEPTH => Err(io::Error::other("folders are nested too deep")),
            Ok(canonical) => {
                self.visited.insert(canonical);
                self.walk(&folder, depth)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = walked {
            self.blind_to(folder, &error.to_string());
        }
    }

    fn blind_to(&mut self, folder: PathBuf, reason: &str) {
        let message =
            format!("{} cannot be read: {reason}; its earlier content stays", folder.display());
        self.blind.push((folder, message));
    }
}

impl FileMemory {
    fn read(&mut self, path: &Path) {
        match read_bytes(path) {
            Ok(bytes) => {
                let content_hash = Sha256::digest(&bytes).into();
                if content_hash != self.content_hash {
                    self.take(documents::read(&bytes));
                    self.content_hash = content_hash;
                }
            }
            Err(reason) => {
                // Read again when it can be, whatever it holds then.
                self.content_hash = [0; 32];
                self.errors = vec![(
                    None,
                    format!("the file cannot be read: {reason}; its earlier content stays"),
                )];
            }
        }
    }

    fn take(&mut self, documents: Documents) {
        let complete = documents.errors.is_empty();
        let mut objects = BTreeMap::new();
        self.errors = documents
            .errors
            .into_iter()
            .map(|error| {
                (error.source_kind, format!("{error}; the earlier content of the file stays"))
            })
            .collect();
        for placed in documents.objects {
            objects.entry(placed.object.reference().clone()).or_insert(placed);
        }
        if complete {
            self.objects = objects;
        } else {
            self.objects.extend(objects);
        }
    }
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, String> {
    let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
    if metadata.len() > MAX_FILE_BYTES {
        return Err(format!(
            "it has {} bytes and {MAX_FILE_BYTES} is the most that is read: split it",
            metadata.len()
        ));
    }
    fs::read(path).map_err(|error| error.to_string())
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| {
        ["yaml", "yml", "json"].iter().any(|known| extension.eq_ignore_ascii_case(known))
    })
}

#[cfg(test)]
mod tests;

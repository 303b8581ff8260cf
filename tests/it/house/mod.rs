//! The rules for the sources, the documentation and the files to deploy as they lie in the repository.

pub mod architecture;
mod deploy;
mod doc_comments;
mod docs;
mod fuzz;
mod policy;
mod shape;
mod type_names;

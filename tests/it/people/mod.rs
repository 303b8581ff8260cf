//! People and machines at the REST API: how they prove who they are, and what they may do.

mod browser;
mod forged;
mod login;
mod matrix;
mod provider;
mod sign_in;
mod site;
mod tokens;

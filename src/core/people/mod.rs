//! People: who they are, what they may do, and by what they prove it.
//!
//! A caller has a role for the whole ([`role`]) and standings in teams ([`teams`]), which rules give and nothing synchronises. A session
//! or a token ([`credential`]) proves who calls; a token may carry less than its holder has, never more.

pub mod credential;
pub mod public_url;
pub mod role;
pub mod teams;

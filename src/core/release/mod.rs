//! What lets planned changes go, or keeps them back: guards, holds with the words that release them, and requests for those words.

pub mod guard;
pub mod guarded;
pub mod hold;
pub mod lane;
pub mod ledger;
pub mod request;

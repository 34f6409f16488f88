//! Known holes of chat systems, each closed by a test that is named after its number: see deploy/SECURITY-TESTS.md. Those that are
//! about who may do what stand in `authorisation::classes`.

mod absent;
mod files;
mod messages;
mod names;
mod paging;
pub(crate) mod process;
mod sending;
mod table;
mod tokens;

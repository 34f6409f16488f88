//! How a Parley process lives: it reads its settings, says what it does, answers the questions of whoever
//! operates it, and ends without leaving anybody behind.
//!
//! This crate must never know what the process is for: there is no chat, no message and no user in it. The only
//! connections that it opens are to read a [`document`], and to send what it [`trace`]s.

pub mod admin;
pub mod document;
pub mod lifecycle;
pub mod logs;
pub mod metrics;
pub mod process;
pub mod readiness;
pub mod settings;
pub mod telemetry;
pub mod trace;

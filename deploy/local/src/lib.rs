//! The whole cluster on one machine: for a newcomer's first minute and for every system test.
//!
//! This crate gets real Postgres, NATS, Redis and a load balancer, starts Parley's pods on them,
//! and says where everything is. [`Cluster`] is the same thing for tests.
//!
//! It must never know a rule of the chat. It speaks to the services only as an operator and a
//! client would: through their settings, their REST interface and their admin ports.

mod alerts;
mod balancer;
mod cluster;
pub mod commands;
mod debian;
mod demo;
mod frozen;
mod home;
mod interrupt;
mod layout;
mod nats;
pub mod npm;
mod panels;
mod pods;
mod ports;
mod postgres;
mod process;
mod prometheus;
mod redis;
mod rest;
pub mod say;
mod secrets;
mod security;
mod services;
mod state;
mod storage;
pub mod testing;
mod token;
mod tools;
mod typescript;

pub use alerts::{shipped_alertmanager, shipped_rules, shortened};
pub use cluster::{Cluster, Durability, Options, Place};
pub use debian::{Observers, observers};
pub use frozen::Frozen;
pub use home::{Home, workspace};
pub use interrupt::Interrupt;
pub use npm::run_script;
pub use process::Process;
pub use prometheus::{Alert, Course, NAMESPACE, Notice, Prometheus, Series, Watch};
pub use rest::{Answer, Client};
pub use services::{binaries, build_planted, migrate, migrate_by, profile};
pub use state::{Address, Description, Jwt, Named, Pod};
pub use token::{Role, Token};
pub use tools::postgres_programs;

//! The server: its main loop, its workers and its api.
//!
//! `run` starts it; `house` is the main loop that owns all state; a `room` is one directory with its engine and threads;
//! `transfer` fetches contents and `provider` serves them; `api` is what clients of this home speak.

pub mod api;
mod clock;
pub mod config;
pub mod doctor;
mod house;
mod input;
mod policy;
mod provider;
mod room;
pub mod run;
mod transfer;
mod watches;

pub use config::ServerConfig;
pub use run::{StartError, run};

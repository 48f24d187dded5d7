//! The server: its main loop, its workers and its api.

pub mod api;
pub mod config;
pub mod run;

pub use config::ServerConfig;
pub use run::{StartError, run};

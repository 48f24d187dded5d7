//! Tests of the state model as a whole: trees of several devices, the acts of their users, and deliveries between them.

mod counter_example;
mod device;
mod found;
mod hostile;
#[cfg(feature = "mistakes")]
mod mistakes;
mod oracle;
mod promises;
mod script;
mod search;
mod table;
mod telling;

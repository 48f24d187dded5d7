//! The index, through its public interface, on real files.

mod fixture;
mod home;
mod opening;
mod round_trip;
mod samples;
mod speed;
mod survival;
mod tmpfs;

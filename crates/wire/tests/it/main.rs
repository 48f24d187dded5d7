//! Round trips, rejections and sizes of what crosses the wire and rests in the index.

mod connection;
mod generate;
mod hostile;
mod round_trip;
mod sizes;

//! Ports and connections.

mod connection;
mod frames;
mod port;
mod reading;
mod secure_port;

pub use secure_port::SecurePort;

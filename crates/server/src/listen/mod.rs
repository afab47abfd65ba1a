//! Ports: accepting, handshakes, and connections until they end.

mod connection;
mod control_frames;
mod port;
mod secure_port;
mod stall;

pub use secure_port::SecurePort;

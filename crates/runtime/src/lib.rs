//! Everything that touches the world: sources, servers, the engine thread.

pub mod grpc;
pub mod source;

//! Everything that touches the world: sources, servers, the engine thread.

//! Versioned logs of encoded resources and a sans-I/O delta session; knows bytes, not meshes.

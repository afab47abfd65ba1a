//! Certificates and streams of the secure port, with real tokens, real TLS and a real API server.

mod clock;
mod foreign;
mod laptop;
mod plane;
mod publisher;
mod token;
mod workloads;

mod audit;
mod bounds;
mod certificates;
mod credentials;
mod debug;
mod development;
mod distribution;
mod external;
mod flood;
mod gateways;
mod intermediate;
mod issuers;
mod key_material;
mod plugged_in;
mod problems;
mod races;
mod requests;
mod revocation;
mod rotation;
mod serving;
mod streams;
mod tokens;

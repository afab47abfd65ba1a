//! Wire messages: workload, authorization, citadel and the server's view of discovery.

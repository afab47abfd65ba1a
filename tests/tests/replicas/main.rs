//! Replicas of the control plane as processes, on a real API server: one is killed, or the API server goes away, while
//! much changes and many clients listen.

mod churn;
mod killed;
mod outage;
mod process;

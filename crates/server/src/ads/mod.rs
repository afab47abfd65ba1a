//! Aggregated discovery: streams, who is told of a snapshot when, and the connected clients.

mod clients;
mod fanout;
mod guard;
mod stream;

pub use clients::{ClientView, Clients, Totals, TypeTotals};
pub use fanout::Concerned;
pub(crate) use guard::StreamGuard;
pub use stream::Ads;

//! Aggregated discovery: streams, the order in which they see a snapshot, and the connected clients.

mod clients;
mod debug;
mod fanout;
mod guard;
mod secrets;
mod stream;

pub use clients::{ClientRefusals, ClientView, Clients, Totals, TypeTotals};
pub use debug::{DebugAnswer, DebugApi, PendingAnswer};
pub use fanout::AffectedNodes;
pub(crate) use guard::StreamGuard;
pub use stream::Ads;

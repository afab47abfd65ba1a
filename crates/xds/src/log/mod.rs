//! Stores of encoded resources: what each scope holds at each step.
//!
//! ```text
//!   mesh scope    Log per type: Chain (present) ┐ segments of bytes, ordered by change
//!                               Chain (gone)    ┘
//!   proxy scopes  ProxyStore: name ▸ ProxyView: type ▸ TypeView ┬ by name   ┐ sorted, in shared
//!                                                               └ by change ┘ pieces, of shared frames
//! ```

mod chain;
mod frame;
mod mesh;
mod proxy;
mod segment;
mod sorted;
mod view;

pub(crate) use frame::Frame;
pub(crate) use mesh::{Log, LogView};
pub(crate) use proxy::{Proxies, ProxyStore, ProxyView, TypeView};
pub(crate) use view::{Position, View};

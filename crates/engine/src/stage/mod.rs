//! The operators, one file each.

#[macro_use]
mod delegate;
mod by_slot;
mod derive;
mod expand;
mod group;
mod in_use;
mod input;
mod memo;
mod reads;

pub(crate) use derive::{DeriveStage, SingleStage};
pub(crate) use expand::ExpandStage;
pub(crate) use group::GroupStage;
pub(crate) use in_use::InUseStage;
pub(crate) use input::InputStage;
pub use memo::Memo;
pub(crate) use memo::MemoStage;

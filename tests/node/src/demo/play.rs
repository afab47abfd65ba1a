//! What is to be seen of an example.

use super::outside::Server;
use super::site::Site;
use futures::future::LocalBoxFuture;
use std::path::Path;

/// An example, and what is to be seen of it.
pub(super) struct Play {
    /// The name of its folder.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub introduction: &'static str,
    /// Changes the copy of the folder before anything starts.
    pub prepare: fn(&Path) -> anyhow::Result<()>,
    /// What is outside of its mesh.
    pub outside: &'static [Server],
    /// In order.
    pub steps: &'static [Step],
}

/// A step: what is to be seen, and what shows it.
pub(super) struct Step {
    /// What it is about.
    pub title: &'static str,
    /// What happens and why.
    pub explanation: &'static str,
    pub play: for<'a> fn(&'a mut Site) -> LocalBoxFuture<'a, anyhow::Result<()>>,
}

impl Step {
    /// Plays it.
    pub(super) async fn play(&self, site: &mut Site) -> anyhow::Result<()> {
        (self.play)(site).await
    }
}

//! What an API server says of Services and their endpoints, followed.

use crate::load_balancer::{Frontend, frontends};
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::Api;
use kube::runtime::reflector::{self, reflector};
use kube::runtime::{WatchStreamExt, watcher};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The ports of the load balancers of a cluster, for as long as this lives.
pub(super) struct Services {
    frontends: watch::Receiver<Vec<Frontend>>,
    _followed: JoinSet<()>,
}

impl Services {
    /// Begins to follow them; until both kinds are listed there are none.
    pub(super) fn follow(client: kube::Client) -> Self {
        let (services, service_writer) = reflector::store::<Service>();
        let (slices, slice_writer) = reflector::store::<EndpointSlice>();
        let config = watcher::Config::default;
        let service_events = watcher(Api::all(client.clone()), config()).default_backoff();
        let slice_events = watcher(Api::all(client), config()).default_backoff();
        let mut changes = stream::select(
            reflector(service_writer, service_events).map(drop).boxed(),
            reflector(slice_writer, slice_events).map(drop).boxed(),
        );
        let (tell, told) = watch::channel(Vec::new());
        let mut followed = JoinSet::new();
        followed.spawn(async move {
            while changes.next().await.is_some() {
                let (services, slices) = (services.state(), slices.state());
                let now = frontends(services.iter().map(AsRef::as_ref), slices.iter().map(AsRef::as_ref));
                tell.send_if_modified(|before| {
                    let differs = *before != now;
                    *before = now;
                    differs
                });
            }
        });
        Self { frontends: told, _followed: followed }
    }

    /// The ports that there are now.
    pub(super) fn frontends(&self) -> Vec<Frontend> {
        self.frontends.borrow().clone()
    }
}

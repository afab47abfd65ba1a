//! The writer: where resources enter.

use std::sync::Arc;

use proto::{ResourceType, Scope};

use crate::capability::Capabilities;
use crate::error::WriteError;
use crate::log::{Log, ProxyStore};
use crate::lookup::LookupCell;
use crate::mesh::MeshView;
use crate::snapshot::Snapshot;
use crate::types::rules;

/// The one place where resources enter; owned by the thread that computes them.
///
/// Changes gather until [`publish`](Self::publish), which makes them visible at once. A publication costs
/// what changed, however many scopes there are.
///
/// ```
/// use pilothouse_xds::{ResourceType, Scope, Writer};
///
/// let mut writer = Writer::new();
/// writer.put(&Scope::Mesh, ResourceType::Authorization, "shop/allow-web", b"\x0a\x09allow-web")?;
/// writer.put(&Scope::proxy("shop/waypoint"), ResourceType::Cluster, "web", b"\x0a\x03web")?;
/// let snapshot = writer.publish();
/// assert_eq!(snapshot.step(), 1);
/// assert_eq!(snapshot.len(&Scope::Mesh, ResourceType::Authorization), 1);
/// # Ok::<(), pilothouse_xds::WriteError>(())
/// ```
#[derive(Debug)]
pub struct Writer {
    address: Log,
    authorization: Log,
    proxies: ProxyStore,
    lookup: LookupCell,
    published: Option<Arc<Snapshot>>,
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// A writer without resources.
    pub fn new() -> Self {
        Self {
            address: Log::new(ResourceType::Address),
            authorization: Log::new(ResourceType::Authorization),
            proxies: ProxyStore::default(),
            lookup: LookupCell::default(),
            published: None,
        }
    }

    fn step(&self) -> u64 {
        self.published.as_ref().map_or(1, |snapshot| snapshot.step() + 1)
    }

    fn log(&mut self, of: ResourceType) -> &mut Log {
        match of {
            ResourceType::Authorization => &mut self.authorization,
            _ => &mut self.address,
        }
    }

    /// Puts a resource; false, and no new step for it, when it is there with equal bytes.
    ///
    /// # Errors
    /// When the name is empty, name or body are too long, or the type belongs in other scopes; nothing
    /// changes then.
    pub fn put(
        &mut self,
        scope: &Scope,
        of: ResourceType,
        name: &str,
        body: &[u8],
    ) -> Result<bool, WriteError> {
        self.put_for(scope, of, name, body, 0)
    }

    /// Puts a resource of the mesh for those clients only that have the capabilities it requires: for
    /// others it does not exist (see
    /// [`with_capabilities`](crate::ZtunnelSession::with_capabilities)). In the scope of a proxy
    /// capabilities do not count.
    ///
    /// # Errors
    /// As of [`put`](Self::put).
    pub fn put_for(
        &mut self,
        scope: &Scope,
        of: ResourceType,
        name: &str,
        body: &[u8],
        required: Capabilities,
    ) -> Result<bool, WriteError> {
        if !rules(of).are_in(scope) {
            return Err(WriteError::Scope { of, scope: scope.clone() });
        }
        let step = self.step();
        match scope {
            Scope::Mesh => self.log(of).put(step, name, body, required),
            Scope::Proxy(proxy) => self.proxies.put(step, proxy, of, name, &body.into()),
        }
    }

    /// As [`put_for`](Self::put_for), of bytes that whoever made the resource keeps as well: that of a proxy is not
    /// copied.
    ///
    /// # Errors
    /// As of [`put`](Self::put).
    pub fn put_shared(
        &mut self,
        scope: &Scope,
        of: ResourceType,
        name: &str,
        body: &Arc<[u8]>,
        required: Capabilities,
    ) -> Result<bool, WriteError> {
        match scope {
            Scope::Proxy(proxy) if rules(of).are_in(scope) => {
                self.proxies.put(self.step(), proxy, of, name, body)
            }
            _ => self.put_for(scope, of, name, body, required),
        }
    }

    /// Sends a resource again although its bytes are equal; false when it does not exist.
    ///
    /// For workloads whose meaning changed with their service: a ztunnel reads them anew only
    /// when they arrive again.
    pub fn resend(&mut self, scope: &Scope, of: ResourceType, name: &str) -> bool {
        let step = self.step();
        match scope {
            Scope::Mesh => rules(of).are_in(scope) && self.log(of).resend(step, name),
            Scope::Proxy(proxy) => self.proxies.resend(step, proxy, of, name),
        }
    }

    /// Removes a resource; false when it does not exist.
    pub fn remove(&mut self, scope: &Scope, of: ResourceType, name: &str) -> bool {
        let step = self.step();
        match scope {
            Scope::Mesh => rules(of).are_in(scope) && self.log(of).remove(step, name),
            Scope::Proxy(proxy) => self.proxies.remove(step, proxy, of, name),
        }
    }

    /// Returns number and bytes of the proxies' resources, each counted once however many scopes hold it.
    pub fn distinct_proxy_resources(&self) -> (usize, u64) {
        self.proxies.distinct()
    }

    /// Makes all changes since the last publication visible; the same snapshot again when there
    /// are none. The first call publishes even without resources.
    pub fn publish(&mut self) -> Arc<Snapshot> {
        let step = self.step();
        let mesh = match &self.published {
            Some(snapshot) if !self.address.is_changed() && !self.authorization.is_changed() => {
                if !self.proxies.is_changed() {
                    return Arc::clone(snapshot);
                }
                Arc::clone(snapshot.mesh())
            }
            _ => {
                self.lookup.age();
                let (address, authorization) = (self.address.publish(), self.authorization.publish());
                Arc::new(MeshView { step, address, authorization })
            }
        };
        let proxies = self.proxies.publish(step);
        let snapshot = Arc::new(Snapshot::new(step, mesh, self.lookup.clone(), proxies));
        self.published = Some(Arc::clone(&snapshot));
        snapshot
    }
}

//! What gateways are sent of Secrets and ConfigMaps.

use engine::{Builder, Cx, Memo, Table};
use model::Name;
use model::facts::{KeyPair, Referent, Roots};

use crate::reference::References;

/// What of a Secret or ConfigMap a gateway is sent.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Material {
    /// The certificate of a Secret, and its key.
    Certificate(Name),
    /// Whom to trust.
    Authorities(Referent),
}

/// What it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MaterialContent {
    /// A certificate with its key.
    Pair(KeyPair),
    /// Certificates of authorities.
    Roots(Roots),
}

/// What gateways are sent: whatever is wanted here, by those who have asked the grants.
#[derive(Clone, Copy)]
pub(crate) struct Materials(Memo<(Name, Material), ()>);

impl Materials {
    pub fn declare(b: &mut Builder) -> Self {
        Self(b.memo("wanted_materials", |_, _: &(Name, Material)| Some(())))
    }

    /// Wants something for a gateway, as long as the row lasts that does.
    pub fn want(self, cx: &Cx<'_>, gateway: &Name, material: Material) {
        cx.memo(self.0, &(gateway.clone(), material));
    }

    /// Declares what they hold; to be called after all tables that want any.
    pub fn contents(
        self,
        b: &mut Builder,
        references: References,
    ) -> Table<(Name, Material), MaterialContent> {
        let wanted = b.in_use("materials_in_use", self.0);
        b.derive("gateway_materials", wanted, move |cx, (_, material), ()| match material {
            Material::Certificate(secret) => {
                let secret = references.secret(cx, secret).ok()?;
                secret.key_pair.as_ref().ok().cloned().map(MaterialContent::Pair)
            }
            Material::Authorities(Referent::Secret(secret)) => {
                let secret = references.secret(cx, secret).ok()?;
                secret.roots.as_ref().ok().cloned().map(MaterialContent::Roots)
            }
            Material::Authorities(Referent::ConfigMap(map)) => {
                let map = references.config_map(cx, map).ok()?;
                map.roots.as_ref().ok().cloned().map(MaterialContent::Roots)
            }
            Material::Authorities(Referent::ClassDefaults(_)) => None,
        })
    }
}

//! GatewayClasses that every cluster has: made where they are absent, and otherwise left as they are.

use cluster::{ObjectClient, WriterStats};
use model::Kind;
use plane::BuiltInClass;

/// Creates classes; tells whether none is left to be made later. A cluster without the Gateway API has none.
pub(super) async fn create(client: &ObjectClient, stats: &WriterStats, classes: &[BuiltInClass]) -> bool {
    let kind = Kind::GatewayClass;
    for class in classes {
        match client.create(kind, &class.manifest()).await {
            Ok(true) => tracing::info!(class = class.name, "created a GatewayClass"),
            Ok(false) => return true,
            Err(error) => {
                let what = format!("{}.{}", kind.plural(), kind.group());
                let sentence = if error.is_forbidden() {
                    format!(
                        "not allowed to create {what}; grant create on {what} to this user, as the chart's ClusterRole does; the mesh is served all the same"
                    )
                } else {
                    format!("cannot create the GatewayClass {}: {error}; trying again later", class.name)
                };
                if stats.set_problem(kind.plural(), Some(sentence.clone())) {
                    tracing::error!(cause = %error, "{sentence}");
                }
                return false;
            }
        }
    }
    stats.set_problem(kind.plural(), None);
    true
}

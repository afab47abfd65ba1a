//! The objects that a text is published in.

use kube::Resource;
use kube::api::Api;
use kube::core::Status;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// The objects that hold a published text: at most one in each namespace, or one in the cluster, whose
/// namespace is empty.
pub(super) trait TextObjects: Sync {
    /// The kind of the objects.
    type Object: Resource + Clone + Debug + DeserializeOwned + Send + 'static;

    /// The name that all of them have.
    fn name(&self) -> &str;

    /// The API of all objects of the kind.
    fn api(&self) -> Api<Self::Object>;

    /// The text of an object; nothing if anything else of it is not as it should be.
    fn text(&self, object: &Self::Object) -> Option<String>;

    /// Writes the text to a namespace, in which the object exists or not.
    fn write(
        &self,
        namespace: &str,
        text: &str,
        exists: bool,
    ) -> impl Future<Output = Result<Self::Object, kube::Error>> + Send;

    /// Tells whether a refusal is transient: another replica was faster, or the namespace or the object is
    /// being deleted.
    fn is_transient(&self, status: &Status) -> bool;
}

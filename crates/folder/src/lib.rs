//! A folder of manifests as a cluster: plays the controllers that a cluster would have.

//! Names, identities, labels, kinds and the facts of Kubernetes objects: parsed once, at the door.

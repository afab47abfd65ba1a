//! Whether a file may have changed since it was read.

use std::fs::Metadata;
use std::time::SystemTime;

/// What changes about a file whenever its content may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: Option<SystemTime>,
    /// Seconds and nanoseconds of the last change of the inode.
    changed: (i64, i64),
    /// The length in bytes.
    pub(super) len: u64,
    /// Device and inode, which a rename keeps; zeros where the system has none.
    pub(super) inode: (u64, u64),
}

impl Stamp {
    /// The stamp of a file.
    #[cfg(unix)]
    pub(super) fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self {
            modified: metadata.modified().ok(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            len: metadata.len(),
            inode: (metadata.dev(), metadata.ino()),
        }
    }

    /// The stamp of a file.
    #[cfg(not(unix))]
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self { modified: metadata.modified().ok(), changed: (0, 0), len: metadata.len(), inode: (0, 0) }
    }
}

//! What every refusal of this crate can say about itself.

/// The gRPC status code that a refusal is answered with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(i32)]
pub enum Code {
    /// The request is wrong in itself and must not be repeated unchanged.
    InvalidArgument = 3,
    /// Something that the answer depends on did not answer in time.
    DeadlineExceeded = 4,
    /// The caller is known and may not do this.
    PermissionDenied = 7,
    /// A limit is reached; the request may be repeated later.
    ResourceExhausted = 8,
    /// The request is of a form that is not read.
    Unimplemented = 12,
    /// The authority cannot sign at the moment.
    Internal = 13,
    /// Something that the answer depends on is away.
    Unavailable = 14,
    /// The caller is not known, or may not act for whom it asks.
    Unauthenticated = 16,
}

/// An error that ends a request of a client.
pub trait Refusal: std::error::Error {
    /// Returns the status code of the answer.
    fn code(&self) -> Code;

    /// Returns a short name in snake case, one of a fixed set: fit for a metric's label.
    fn reason(&self) -> &'static str;
}

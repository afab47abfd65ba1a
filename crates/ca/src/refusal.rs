//! What every refusal of this crate can say about itself.

pub use proto::Code;

/// An error that ends a request of a client.
pub trait Refusal: std::error::Error {
    /// Returns the status code of the answer.
    fn code(&self) -> Code;

    /// Returns a short name in snake case, one of a fixed set: fit for a metric's label.
    fn reason(&self) -> &'static str;
}

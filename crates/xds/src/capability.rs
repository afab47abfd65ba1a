//! What a client must be able to read to be sent a resource.

/// Capabilities, as bits: those that a client has, or those that a resource requires. A resource that
/// requires none is sent to everybody.
pub type Capabilities = u8;

/// Tells whether a resource that requires some capabilities is withheld from a client that has these.
pub fn is_withheld(required: Capabilities, held: Capabilities) -> bool {
    required & !held != 0
}

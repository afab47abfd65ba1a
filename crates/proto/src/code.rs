//! Status codes of gRPC.

/// A gRPC status code, as `google.rpc.Code` numbers them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Code {
    /// The call succeeded.
    Ok = 0,
    /// The caller ended the call.
    Cancelled = 1,
    /// Nothing more is known of the error.
    Unknown = 2,
    /// The request is wrong in itself and must not be repeated unchanged.
    InvalidArgument = 3,
    /// Something that the answer depends on did not answer in time.
    DeadlineExceeded = 4,
    /// What was asked for does not exist.
    NotFound = 5,
    /// What was to be made exists.
    AlreadyExists = 6,
    /// The caller is known and may not do this.
    PermissionDenied = 7,
    /// A limit is reached; the request may be repeated later.
    ResourceExhausted = 8,
    /// The system is not in the state that the call needs.
    FailedPrecondition = 9,
    /// The caller must begin anew, say with another stream.
    Aborted = 10,
    /// The request goes past an end.
    OutOfRange = 11,
    /// There is no such service, type or form of request here.
    Unimplemented = 12,
    /// The server cannot do what it should at the moment.
    Internal = 13,
    /// The server, or something that the answer depends on, is away.
    Unavailable = 14,
    /// Data is lost for good.
    DataLoss = 15,
    /// The caller is not known, or may not act for whom it asks.
    Unauthenticated = 16,
}

impl Code {
    /// The number on the wire, from 0 to 16.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

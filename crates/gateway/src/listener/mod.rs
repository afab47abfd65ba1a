//! Listeners of gateways and of the ListenerSets attached to them.

mod conflict;
mod material;
mod merge;
mod protocol;
mod row;
mod sentence;
mod table;
mod tls;

pub use conflict::Conflict;
pub use material::{Material, MaterialContent};
pub use merge::{GatewayListeners, SetState};
pub use protocol::{Protocol, Unserved};
pub use row::{Listener, Tls};
pub use tls::{
    Authorities, Certificate, ClientCertificate, ClientCertificates, ServerCertificates, Termination,
};

pub(crate) use material::Materials;
pub(crate) use merge::{Inputs, declare as declare_gateways};
pub(crate) use table::{Listeners, declare};
pub(crate) use tls::{TlsFault, declare as declare_tls, declare_client_certificates};

//! Plugged-in key material: a signing certificate that somebody else has issued.

use crate::bundle::{BundleError, TrustBundle};
use crate::certificate::{Certificate, CertificateError};
use crate::chain::{self, ChainError};
use crate::crl::{CrlError, RevocationLists};
use crate::issuer::{Issuer, IssuerError};
use crate::key::{KeyError, SigningKey};
use crate::pair::{PairError, check_pair};
use crate::secret::GENERATED;
use crate::ttl::TtlPolicy;
use rustls_pki_types::UnixTime;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The files of a folder `cacerts`: signing certificate, key, chain, roots.
pub const PLUGGED_IN_FILES: [&str; 4] = ["ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem"];

/// The files of a folder of the shape `kubernetes.io/tls`: signing certificate and chain, key, root.
pub const TLS_FILES: [&str; 3] = ["tls.crt", "tls.key", "ca.crt"];

/// The file of revocation lists, which may be beside the four of `cacerts`.
pub const CRL_FILE: &str = "ca-crl.pem";

/// Why key material is refused. What is active stays active.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MaterialError {
    /// Some of the files are there, and some are not.
    #[error("files {missing} are missing beside {present}; give all of them or none")]
    Partial {
        /// Names of the missing files.
        missing: String,
        /// Names of the files that are there.
        present: String,
    },
    /// A file of certificates cannot be read.
    #[error("file {file}: {error}")]
    Certificate {
        /// The name of the file.
        file: &'static str,
        /// What is wrong with it.
        error: CertificateError,
    },
    /// The roots are refused.
    #[error("file {file}: {error}")]
    Roots {
        /// The name of the file.
        file: &'static str,
        /// What is wrong with it.
        error: BundleError,
    },
    /// The key cannot be used.
    #[error("file {file}: {error}")]
    Key {
        /// The name of the file.
        file: &'static str,
        /// What is wrong with it.
        error: KeyError,
    },
    /// Certificate and key do not form an authority.
    #[error("file {file}: {error}")]
    Pair {
        /// The name of the certificate's file.
        file: &'static str,
        /// What is wrong with it.
        error: PairError,
    },
    /// The certificate does not lead to the roots.
    #[error("file {file}: {error}")]
    Chain {
        /// The name of the certificate's file.
        file: &'static str,
        /// What is wrong with it.
        error: ChainError,
    },
    /// The revocation lists are refused.
    #[error("file ca-crl.pem: {0}")]
    Crl(#[from] CrlError),
}

/// Key material that has been checked.
#[derive(Clone, Debug)]
pub struct KeyMaterial {
    certificate: Certificate,
    key: Arc<SigningKey>,
    chain: Vec<Certificate>,
    trust: TrustBundle,
    revoked: RevocationLists,
}

impl KeyMaterial {
    /// Tells whether the files are the mirror of a Secret that an authority generated itself.
    pub fn is_generated(files: &BTreeMap<String, Vec<u8>>) -> bool {
        files.contains_key(GENERATED)
    }

    /// Reads the files of one folder, by name: the shape `kubernetes.io/tls` if there is a `tls.crt`,
    /// else the shape `cacerts`. Gives nothing when none of the files is there.
    ///
    /// Everything is verified at `now`: the certificate leads to the roots through the chain, may
    /// sign, and has the key; each revocation list that is needed is there.
    ///
    /// # Errors
    /// [`MaterialError`].
    pub fn from_files(
        files: &BTreeMap<String, Vec<u8>>,
        now: UnixTime,
    ) -> Result<Option<Self>, MaterialError> {
        if files.contains_key(TLS_FILES[0]) {
            let [cert_file, key_file, root_file] = TLS_FILES;
            let [certificate, key, root] = all_of(files, TLS_FILES)?.unwrap_or([b"", b"", b""]);
            let mut chain = certificates(cert_file, certificate)?;
            let signer = first(&chain, cert_file)?;
            chain.extend(certificates(root_file, root)?);
            return Self::checked([cert_file, key_file, root_file], signer, key, chain, root, None, now)
                .map(Some);
        }
        let Some([certificate, key, chain, root]) = all_of(files, PLUGGED_IN_FILES)? else { return Ok(None) };
        let [cert_file, key_file, chain_file, root_file] = PLUGGED_IN_FILES;
        let signer = first(&certificates(cert_file, certificate)?, cert_file)?;
        let chain = certificates(chain_file, chain)?;
        let crl = files.get(CRL_FILE).filter(|text| !text.is_empty());
        Self::checked([cert_file, key_file, root_file], signer, key, chain, root, crl, now).map(Some)
    }

    fn checked(
        [cert_file, key_file, root_file]: [&'static str; 3],
        certificate: Certificate,
        key: &[u8],
        mut chain: Vec<Certificate>,
        roots: &[u8],
        crl: Option<&Vec<u8>>,
        now: UnixTime,
    ) -> Result<Self, MaterialError> {
        let trust =
            TrustBundle::from_pem(roots).map_err(|error| MaterialError::Roots { file: root_file, error })?;
        let key = std::str::from_utf8(key)
            .map_err(|_| KeyError::Missing)
            .and_then(SigningKey::from_pem)
            .map_err(|error| MaterialError::Key { file: key_file, error })?;
        check_pair(&certificate, &key).map_err(|error| MaterialError::Pair { file: cert_file, error })?;
        chain::verify_chain(&certificate, &chain, trust.roots(), now)
            .map_err(|error| MaterialError::Chain { file: cert_file, error })?;
        let revoked = match crl {
            Some(text) => RevocationLists::read(text, &chain)?,
            None => RevocationLists::default(),
        };
        // Without its signer in the chain no peer could verify a leaf.
        let known = |list: &[Certificate]| list.iter().any(|c| c.der() == certificate.der());
        if !known(&chain) && !known(trust.roots()) {
            chain.insert(0, certificate.clone());
        }
        Ok(Self { certificate, key: Arc::new(key), chain, trust, revoked })
    }

    /// Returns the issuer of this material.
    ///
    /// # Errors
    /// [`IssuerError`].
    pub fn issuer(&self, ttl: TtlPolicy) -> Result<Issuer, IssuerError> {
        Issuer::new(
            self.certificate.clone(),
            Arc::clone(&self.key),
            self.chain.clone(),
            self.trust.clone(),
            ttl,
        )
    }

    /// Returns the signing certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Returns the certificates of the chain file, in their order.
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// Returns the roots.
    pub fn trust(&self) -> &TrustBundle {
        &self.trust
    }

    /// Returns the certificates that are revoked.
    pub fn revoked(&self) -> &RevocationLists {
        &self.revoked
    }
}

/// Returns the content of all `names`, or nothing when none is there.
fn all_of<'a, const N: usize>(
    files: &'a BTreeMap<String, Vec<u8>>,
    names: [&'static str; N],
) -> Result<Option<[&'a [u8]; N]>, MaterialError> {
    let found = names.map(|name| files.get(name).map(Vec::as_slice));
    let list = |there: bool| {
        let chosen = names.iter().zip(&found).filter(|(_, f)| f.is_some() == there).map(|(name, _)| *name);
        chosen.collect::<Vec<_>>().join(", ")
    };
    if found.iter().all(Option::is_none) {
        return Ok(None);
    }
    if found.iter().any(Option::is_none) {
        return Err(MaterialError::Partial { missing: list(false), present: list(true) });
    }
    Ok(Some(found.map(Option::unwrap_or_default)))
}

fn certificates(file: &'static str, text: &[u8]) -> Result<Vec<Certificate>, MaterialError> {
    Certificate::all_from_pem(text).map_err(|error| MaterialError::Certificate { file, error })
}

fn first(all: &[Certificate], file: &'static str) -> Result<Certificate, MaterialError> {
    let error = CertificateError::Missing;
    all.first().cloned().ok_or(MaterialError::Certificate { file, error })
}

#[cfg(test)]
mod tests;

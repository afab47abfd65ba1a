//! Verification of signatures in requests, certificates and revocation lists.
//!
//! An allow list: RSA (2048 to 8192 bits, PKCS#1 v1.5), ECDSA on P-256, P-384 and P-521, each with
//! SHA-256, SHA-384 or SHA-512, and Ed25519. SHA-1 and RSA-PSS are not on it.

use crate::der::oid;
use aws_lc_rs::signature as lc;
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo};

/// Why a signature was not accepted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SignatureError {
    /// The algorithm, or its use with a key of this kind, is not on the allow list.
    #[error("signature algorithm {0} is not accepted with this key; use SHA-256 with RSA or ECDSA")]
    Algorithm(String),
    /// The signature is not one of this key over this message.
    #[error("signature does not verify")]
    Mismatch,
}

/// Verifies `signature` over `message` with the key in `signer`.
///
/// # Errors
/// [`SignatureError`].
pub(crate) fn verify(
    signer: &SubjectPublicKeyInfo<'_>,
    algorithm: &AlgorithmIdentifier<'_>,
    message: &[u8],
    signature: &[u8],
) -> Result<(), SignatureError> {
    let chosen = choose(signer, algorithm)
        .ok_or_else(|| SignatureError::Algorithm(algorithm.algorithm.to_id_string()))?;
    lc::UnparsedPublicKey::new(chosen, &signer.subject_public_key.data)
        .verify(message, signature)
        .map_err(|_| SignatureError::Mismatch)
}

fn choose(
    signer: &SubjectPublicKeyInfo<'_>,
    algorithm: &AlgorithmIdentifier<'_>,
) -> Option<&'static dyn lc::VerificationAlgorithm> {
    let key = signer.algorithm.algorithm.as_bytes();
    let wanted = algorithm.algorithm.as_bytes();
    let table: &[(&[u8], &'static dyn lc::VerificationAlgorithm)] = if oid::is(key, oid::RSA) {
        &[
            (oid::SHA256_WITH_RSA, &lc::RSA_PKCS1_2048_8192_SHA256),
            (oid::SHA384_WITH_RSA, &lc::RSA_PKCS1_2048_8192_SHA384),
            (oid::SHA512_WITH_RSA, &lc::RSA_PKCS1_2048_8192_SHA512),
        ]
    } else if oid::is(key, oid::ED25519) {
        &[(oid::ED25519, &lc::ED25519)]
    } else if oid::is(key, oid::EC_PUBLIC_KEY) {
        let curve = signer.algorithm.parameters.as_ref()?.as_oid().ok()?;
        if oid::is(curve.as_bytes(), oid::P256) {
            &[
                (oid::ECDSA_WITH_SHA256, &lc::ECDSA_P256_SHA256_ASN1),
                (oid::ECDSA_WITH_SHA384, &lc::ECDSA_P256_SHA384_ASN1),
                (oid::ECDSA_WITH_SHA512, &lc::ECDSA_P256_SHA512_ASN1),
            ]
        } else if oid::is(curve.as_bytes(), oid::P384) {
            &[
                (oid::ECDSA_WITH_SHA256, &lc::ECDSA_P384_SHA256_ASN1),
                (oid::ECDSA_WITH_SHA384, &lc::ECDSA_P384_SHA384_ASN1),
                (oid::ECDSA_WITH_SHA512, &lc::ECDSA_P384_SHA512_ASN1),
            ]
        } else if oid::is(curve.as_bytes(), oid::P521) {
            &[
                (oid::ECDSA_WITH_SHA256, &lc::ECDSA_P521_SHA256_ASN1),
                (oid::ECDSA_WITH_SHA384, &lc::ECDSA_P521_SHA384_ASN1),
                (oid::ECDSA_WITH_SHA512, &lc::ECDSA_P521_SHA512_ASN1),
            ]
        } else {
            return None;
        }
    } else {
        return None;
    };
    table.iter().find(|(name, _)| oid::is(wanted, name)).map(|(_, chosen)| *chosen)
}

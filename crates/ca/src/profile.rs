//! The parts of certificates: names and extensions, as this authority writes them.

use crate::der::{OCTET_STRING, SEQUENCE, SET, UTF8_STRING, Writer, explicit, implicit, oid};
use crate::identity::SCHEME;
use aws_lc_rs::digest;
use rustls_pki_types::UnixTime;
use std::net::IpAddr;

/// Appends a Name of one attribute.
pub(crate) fn name(w: &mut Writer, attribute: &[u8], value: &str) {
    name_of(w, &[(attribute, value)]);
}

/// Appends a Name of these attributes, each a name part of its own.
pub(crate) fn name_of(w: &mut Writer, attributes: &[(&[u8], &str)]) {
    w.nest(SEQUENCE, |w| {
        for (attribute, value) in attributes {
            w.nest(SET, |w| {
                w.nest(SEQUENCE, |w| {
                    w.raw(attribute);
                    w.value(UTF8_STRING, value.as_bytes());
                });
            });
        }
    });
}

/// Appends a Validity.
pub(crate) fn validity(w: &mut Writer, not_before: UnixTime, not_after: UnixTime) {
    w.nest(SEQUENCE, |w| {
        w.time(not_before);
        w.time(not_after);
    });
}

/// Appends a critical SubjectAltName: an address as iPAddress, a SPIFFE id as URI, else a DNS name.
pub(crate) fn subject_alt_name<'a>(w: &mut Writer, names: impl Iterator<Item = &'a str>) {
    w.extension(oid::SUBJECT_ALT_NAME, true, |w| {
        w.nest(SEQUENCE, |w| {
            for name in names {
                match name.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
                    Ok(IpAddr::V4(ip)) => w.value(implicit(7), &ip.octets()),
                    Ok(IpAddr::V6(ip)) => w.value(implicit(7), &ip.octets()),
                    Err(_) if name.starts_with(SCHEME) => w.value(implicit(6), name.as_bytes()),
                    Err(_) => w.value(implicit(2), name.as_bytes()),
                }
            }
        });
    });
}

/// Returns the extensions that every leaf has, but for its names: key usage
/// (digitalSignature, keyEncipherment), extended key usage (server, client), CA=false, and the
/// issuer's key id if it has one.
pub(crate) fn leaf_extensions(issuer_key_id: Option<&[u8]>) -> Vec<u8> {
    let mut w = Writer::with_capacity(128);
    w.extension(oid::KEY_USAGE, true, |w| w.value(3, &[5, 0b1010_0000]));
    server_and_client(&mut w);
    w.extension(oid::BASIC_CONSTRAINTS, true, |w| w.nest(SEQUENCE, |_| {}));
    authority_key_id(&mut w, issuer_key_id);
    w.finish()
}

/// Returns the extensions of an intermediate: keyCertSign, extended key usage (server, client), CA=true
/// without authorities below it, its key id, and the issuer's if it has one.
pub(crate) fn intermediate_extensions(key_id: &[u8], issuer_key_id: Option<&[u8]>) -> Vec<u8> {
    let mut w = Writer::with_capacity(192);
    w.extension(oid::KEY_USAGE, true, |w| w.value(3, KEY_CERT_SIGN));
    server_and_client(&mut w);
    w.extension(oid::BASIC_CONSTRAINTS, true, |w| w.nest(SEQUENCE, |w| w.raw(&[1, 1, 0xff, 2, 1, 0])));
    w.extension(oid::SUBJECT_KEY_ID, false, |w| w.value(OCTET_STRING, key_id));
    authority_key_id(&mut w, issuer_key_id);
    w.finish()
}

/// The bits of a key usage that is keyCertSign alone.
const KEY_CERT_SIGN: &[u8] = &[2, 0b0000_0100];

fn server_and_client(w: &mut Writer) {
    w.extension(oid::EXTENDED_KEY_USAGE, false, |w| {
        w.nest(SEQUENCE, |w| {
            w.raw(oid::SERVER_AUTH);
            w.raw(oid::CLIENT_AUTH);
        });
    });
}

fn authority_key_id(w: &mut Writer, id: Option<&[u8]>) {
    if let Some(id) = id {
        w.extension(oid::AUTHORITY_KEY_ID, false, |w| {
            w.nest(SEQUENCE, |w| w.value(implicit(0), id));
        });
    }
}

/// Returns the extensions of a root: keyCertSign, CA=true without a path length, its key id.
pub(crate) fn root_extensions(key_id: &[u8]) -> Vec<u8> {
    let mut w = Writer::with_capacity(96);
    w.extension(oid::KEY_USAGE, true, |w| w.value(3, KEY_CERT_SIGN));
    w.extension(oid::BASIC_CONSTRAINTS, true, |w| w.nest(SEQUENCE, |w| w.raw(&[1, 1, 0xff])));
    w.extension(oid::SUBJECT_KEY_ID, false, |w| w.value(OCTET_STRING, key_id));
    w.finish()
}

/// Returns the key id of a public key: the first 160 bits of its SHA-256 (RFC 7093, section 2).
pub(crate) fn key_id(public_key: &[u8]) -> Vec<u8> {
    let hash = digest::digest(&digest::SHA256, public_key);
    hash.as_ref().iter().take(20).copied().collect()
}

/// The variable parts of a certificate; all but the times are DER already.
pub(crate) struct Parts<'a> {
    pub(crate) serial: &'a [u8],
    pub(crate) algorithm: &'a [u8],
    pub(crate) issuer: &'a [u8],
    pub(crate) not_before: UnixTime,
    pub(crate) not_after: UnixTime,
    pub(crate) subject: &'a [u8],
    pub(crate) public_key: &'a [u8],
}

/// Returns a TBSCertificate (RFC 5280, section 4.1), version 3; `extensions` appends its extensions.
pub(crate) fn to_be_signed(parts: &Parts<'_>, extensions: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut w = Writer::with_capacity(768);
    w.nest(SEQUENCE, |w| {
        w.nest(explicit(0), |w| w.unsigned(&[2]));
        w.unsigned(parts.serial);
        w.raw(parts.algorithm);
        w.raw(parts.issuer);
        validity(w, parts.not_before, parts.not_after);
        w.raw(parts.subject);
        w.raw(parts.public_key);
        w.nest(explicit(3), |w| w.nest(SEQUENCE, extensions));
    });
    w.finish()
}

//! The few protobuf shapes this crate writes by hand, so that a resource is encoded once.
//!
//! A *frame* is one field of a `DeltaDiscoveryResponse` with its tag and length: field 2 holds
//! a `Resource`, field 6 the name of a removed one. Frames can be laid end to end in any
//! order: a response is a header followed by frames. Inside a `Resource` the name comes first,
//! then the version, so that both are found without decoding the rest. The resource itself comes
//! last, as field 2: the rest from there on is the frame of a `DiscoveryResponse`, whose header has
//! the same fields. So its message is the end of either.

/// Field 1 of any message, length-delimited.
const FIRST: u8 = 0x0a;
/// Field 2 of the response, length-delimited.
const RESOURCES: u8 = 0x12;
/// Field 6 of the response, length-delimited.
const REMOVED: u8 = 0x32;
/// Field 3 of a resource.
const NAME: u8 = 0x1a;
/// Field 1 of a resource.
const VERSION: u8 = 0x0a;
/// Field 2 of a resource: an `Any`.
const RESOURCE: u8 = 0x12;
/// Field 4 of a resource.
const ALIASES: u8 = 0x22;
/// Field 1 of an `Any`.
const ANY_TYPE_URL: u8 = 0x0a;
/// Field 2 of an `Any`.
const ANY_VALUE: u8 = 0x12;
/// Field 1 of `Address`: its `workload`.
const ADDRESS_WORKLOAD: u8 = 0x0a;

/// A resource as it stands in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourceRef<'a> {
    /// Resource name.
    pub name: &'a str,
    /// Version as it goes out; empty when the type has none.
    pub version: &'a str,
    /// The encoded message, without its `Any` wrapping.
    pub body: &'a [u8],
}

fn varint_len(value: usize) -> usize {
    let bits = (usize::BITS - (value | 1).leading_zeros()) as usize;
    bits.div_ceil(7)
}

fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn field_len(content: usize) -> usize {
    1 + varint_len(content) + content
}

fn put_field(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    put_varint(out, content.len());
    out.extend_from_slice(content);
}

/// Splits a varint off the front; `None` when there is none.
fn take_varint(bytes: &mut &[u8]) -> Option<usize> {
    let mut value = 0usize;
    for shift in (0..usize::BITS).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= ((byte & 0x7f) as usize) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Splits a length-delimited field with this tag off the front; leaves `bytes` alone otherwise.
fn take_field<'a>(bytes: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let mut rest = bytes.strip_prefix(&[tag])?;
    let len = take_varint(&mut rest)?;
    let (content, rest) = rest.split_at_checked(len)?;
    *bytes = rest;
    Some(content)
}

fn any_len(type_url: &str, body: usize) -> usize {
    field_len(type_url.len()) + field_len(body)
}

fn resource_len(name: &str, version: &str, type_url: &str, body: usize) -> usize {
    let version = if version.is_empty() { 0 } else { field_len(version.len()) };
    field_len(name.len()) + version + field_len(any_len(type_url, body))
}

/// How resources stand in a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// With name and version.
    Delta,
    /// As they are.
    StateOfTheWorld,
}

/// Appends the frame of a resource up to its message.
pub(crate) fn put_head(out: &mut Vec<u8>, form: Form, resource: ResourceRef<'_>, type_url: &str) {
    let ResourceRef { name, version, body } = resource;
    out.reserve(resource_len_as(form, resource, type_url) - body.len());
    if form == Form::Delta {
        out.push(RESOURCES);
        put_varint(out, resource_len(name, version, type_url, body.len()));
        put_field(out, NAME, name.as_bytes());
        if !version.is_empty() {
            put_field(out, VERSION, version.as_bytes());
        }
    }
    out.push(RESOURCE);
    put_varint(out, any_len(type_url, body.len()));
    put_field(out, ANY_TYPE_URL, type_url.as_bytes());
    out.push(ANY_VALUE);
    put_varint(out, body.len());
}

/// Appends the frame of a resource.
pub(crate) fn put_resource_frame(out: &mut Vec<u8>, resource: ResourceRef<'_>, type_url: &str) {
    out.reserve(resource_frame_len(resource, type_url));
    put_head(out, Form::Delta, resource, type_url);
    out.extend_from_slice(resource.body);
}

/// Length in bytes of the frame of a resource.
pub(crate) fn resource_len_as(form: Form, resource: ResourceRef<'_>, type_url: &str) -> usize {
    let ResourceRef { name, version, body } = resource;
    field_len(match form {
        Form::Delta => resource_len(name, version, type_url, body.len()),
        Form::StateOfTheWorld => any_len(type_url, body.len()),
    })
}

/// Length in bytes of the frame that [`put_resource_frame`] appends.
pub(crate) fn resource_frame_len(resource: ResourceRef<'_>, type_url: &str) -> usize {
    resource_len_as(Form::Delta, resource, type_url)
}

/// Appends the frame of a resource again, with other names that lead to it.
pub(crate) fn put_aliased_frame(out: &mut Vec<u8>, frame: &[u8], aliases: &[impl AsRef<str>]) {
    let resource = take_field(&mut &*frame, RESOURCES).unwrap_or_default();
    let extra: usize = aliases.iter().map(|a| field_len(a.as_ref().len())).sum();
    out.push(RESOURCES);
    put_varint(out, resource.len() + extra);
    out.extend_from_slice(resource);
    for alias in aliases {
        put_field(out, ALIASES, alias.as_ref().as_bytes());
    }
}

/// Appends the frame of a removed name.
pub(crate) fn put_removed_frame(out: &mut Vec<u8>, name: &str) {
    put_field(out, REMOVED, name.as_bytes());
}

/// Appends a message that has a name in field 1 and nothing else.
pub(crate) fn put_name(out: &mut Vec<u8>, name: &str) {
    put_field(out, FIRST, name.as_bytes());
}

/// Where the content of field 1 stands in a message that begins with it, and that content.
pub(crate) fn first_field(message: &[u8]) -> Option<(usize, &[u8])> {
    let mut rest = message;
    let content = take_field(&mut rest, FIRST)?;
    Some((message.len() - rest.len() - content.len(), content))
}

/// Appends everything of a response but its frames.
pub(crate) fn put_header(out: &mut Vec<u8>, system_version: &str, type_url: &str, nonce: &str) {
    put_field(out, 0x0a, system_version.as_bytes());
    put_field(out, 0x22, type_url.as_bytes());
    put_field(out, 0x2a, nonce.as_bytes());
}

/// Name in a frame of either kind.
pub(crate) fn frame_name(frame: &[u8]) -> &[u8] {
    if let Some(name) = take_field(&mut &*frame, REMOVED) {
        return name;
    }
    let mut resource = take_field(&mut &*frame, RESOURCES).unwrap_or_default();
    take_field(&mut resource, NAME).unwrap_or_default()
}

/// Name and version in the frame of a resource, as bytes.
pub(crate) fn frame_version(frame: &[u8]) -> (&[u8], &[u8]) {
    let mut resource = take_field(&mut &*frame, RESOURCES).unwrap_or_default();
    let name = take_field(&mut resource, NAME).unwrap_or_default();
    let version = take_field(&mut resource, VERSION).unwrap_or_default();
    (name, version)
}

/// Reads the frame of a resource.
pub(crate) fn read_frame(frame: &[u8]) -> ResourceRef<'_> {
    let mut resource = take_field(&mut &*frame, RESOURCES).unwrap_or_default();
    let name = take_field(&mut resource, NAME).unwrap_or_default();
    let version = take_field(&mut resource, VERSION).unwrap_or_default();
    let mut any = take_field(&mut resource, RESOURCE).unwrap_or_default();
    take_field(&mut any, ANY_TYPE_URL);
    let body = take_field(&mut any, ANY_VALUE).unwrap_or_default();
    // Names and versions entered as `&str`: the fallback is never taken.
    let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
    ResourceRef { name: text(name), version: text(version), body }
}

/// The bare workload inside an encoded `Address`; `None` for a service.
pub(crate) fn workload_of_address(address: &[u8]) -> Option<&[u8]> {
    take_field(&mut &*address, ADDRESS_WORKLOAD)
}

/// Tells whether a resource of this type is a service.
pub(crate) fn is_service(type_url: &str, body: &[u8]) -> bool {
    type_url == proto::type_url::ADDRESS && workload_of_address(body).is_none()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use prost::Message;

    #[test]
    fn varint_lengths_match_what_is_written() {
        for value in [0, 1, 127, 128, 16_383, 16_384, 1 << 21, (1 << 28) - 1, 1 << 28, 1 << 35] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out.len(), varint_len(value), "{value}");
            assert_eq!(take_varint(&mut out.as_slice()), Some(value));
        }
    }

    #[test]
    fn frames_decode_as_the_fields_of_a_response() {
        let mut out = Vec::new();
        put_header(&mut out, "7", proto::type_url::ADDRESS, "7-1");
        let resource = ResourceRef { name: "a/b", version: "ff", body: b"\x0a\x01x" };
        let before = out.len();
        put_resource_frame(&mut out, resource, proto::type_url::ADDRESS);
        assert_eq!(out.len() - before, resource_frame_len(resource, proto::type_url::ADDRESS));
        let frame = out[before..].to_vec();
        assert_eq!(read_frame(&frame), resource);
        assert_eq!(frame_name(&frame), b"a/b");
        put_aliased_frame(&mut out, &frame, &["/10.0.0.1"]);
        put_removed_frame(&mut out, "gone");

        let response = proto::discovery::DeltaDiscoveryResponse::decode(out.as_slice()).unwrap();
        assert_eq!(response.nonce, "7-1");
        assert_eq!(response.type_url, proto::type_url::ADDRESS);
        assert_eq!(response.removed_resources, ["gone"]);
        let [plain, aliased] = &response.resources[..] else { panic!("two resources") };
        let plain = proto::discovery::Resource::decode(plain.clone()).unwrap();
        assert_eq!((plain.name.as_str(), plain.version.as_str()), ("a/b", "ff"));
        assert_eq!(plain.resource.as_ref().unwrap().value, b"\x0a\x01x");
        let aliased = proto::discovery::Resource::decode(aliased.clone()).unwrap();
        assert_eq!(aliased.aliases, ["/10.0.0.1"]);
        assert_eq!(aliased.resource, plain.resource);
    }

    #[test]
    fn broken_frames_yield_nothing_rather_than_a_panic() {
        for frame in [
            &b""[..],
            b"\x12",
            b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x12\x05\x1a",
            b"\x32\x05a",
        ] {
            assert_eq!(frame_name(frame), b"");
            assert_eq!(read_frame(frame), ResourceRef { name: "", version: "", body: b"" });
        }
    }
}

//! What of a cluster the protocol depends on.

use prost::encoding::{WireType, decode_key, decode_varint};

/// Field 1 of a cluster.
const NAME: u32 = 1;
/// Field 3 of a cluster.
const EDS_CLUSTER_CONFIG: u32 = 3;
/// Field 2 of that.
const SERVICE_NAME: u32 = 2;

/// Calls `each` with number and content of every length-delimited field, as far as the message can be read.
fn fields<'a>(mut message: &'a [u8], mut each: impl FnMut(u32, &'a [u8])) {
    while let Ok((number, wire_type)) = decode_key(&mut message) {
        let fixed = match wire_type {
            WireType::Varint => match decode_varint(&mut message) {
                Ok(_) => 0,
                Err(_) => return,
            },
            WireType::ThirtyTwoBit => 4,
            WireType::SixtyFourBit => 8,
            WireType::LengthDelimited => {
                let len = decode_varint(&mut message).ok().and_then(|len| usize::try_from(len).ok());
                let Some((content, rest)) = len.and_then(|len| message.split_at_checked(len)) else { return };
                each(number, content);
                message = rest;
                0
            }
            WireType::StartGroup | WireType::EndGroup => return,
        };
        match message.split_at_checked(fixed) {
            Some((_, rest)) => message = rest,
            None => return,
        }
    }
}

/// Returns the name under which a cluster asks for its endpoints; `None` when it asks for none.
pub(super) fn endpoints_of(cluster: &[u8]) -> Option<&str> {
    let (mut name, mut service, mut asks) = (&b""[..], &b""[..], false);
    fields(cluster, |number, content| match number {
        NAME => name = content,
        EDS_CLUSTER_CONFIG => {
            asks = true;
            fields(content, |number, content| {
                if number == SERVICE_NAME {
                    service = content;
                }
            });
        }
        _ => {}
    });
    let used = if service.is_empty() { name } else { service };
    asks.then(|| std::str::from_utf8(used).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_asks_for_endpoints_under_its_own_name_or_another_or_not_at_all() {
        // Name, a varint, a fixed64, a fixed32 and then the field in question.
        let head = b"\x0a\x03web\x10\x03\x21\x01\x02\x03\x04\x05\x06\x07\x08\x2d\x01\x02\x03\x04";
        let cluster = |tail: &[u8]| [&head[..], tail].concat();
        assert_eq!(endpoints_of(&cluster(b"")), None);
        assert_eq!(endpoints_of(&cluster(b"\x1a\x02\x0a\x00")), Some("web"));
        assert_eq!(endpoints_of(&cluster(b"\x1a\x06\x0a\x00\x12\x02v1")), Some("v1"));
    }

    #[test]
    fn what_is_no_cluster_asks_for_nothing() {
        for bytes in [&b""[..], b"\x1a", b"\x1a\x7f", b"\x21\x01", b"\x0b\x00", b"\x10\xff", b"\x00"] {
            assert_eq!(endpoints_of(bytes), None);
        }
    }
}

//! Stable hashes: names, UIDs and addresses of generated objects come from these alone.

use serde_json::Value;

/// The letters that Kubernetes uses for generated name suffixes: no vowels and no look-alikes.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// A 64-bit FNV-1a hash whose result is mixed once more, so that low bits are as good as high ones.
#[derive(Clone, Copy)]
pub(crate) struct Hasher(u64);

impl Hasher {
    /// Starts a hash in its own domain: equal parts in different domains give unrelated values.
    pub(crate) fn new(domain: &str) -> Self {
        Self(0xcbf2_9ce4_8422_2325).part(domain)
    }

    /// Adds one part; parts are delimited, so `("ab", "c")` differs from `("a", "bc")`.
    pub(crate) fn part(self, part: &str) -> Self {
        self.bytes(&(part.len() as u64).to_le_bytes()).bytes(part.as_bytes())
    }

    /// Adds a number.
    pub(crate) fn number(self, number: u64) -> Self {
        self.bytes(&number.to_le_bytes())
    }

    /// Adds a JSON value; the order of keys in an object does not count.
    pub(crate) fn value(self, value: &Value) -> Self {
        match value {
            Value::Null => self.bytes(b"n"),
            Value::Bool(flag) => self.bytes(if *flag { b"t" } else { b"f" }),
            Value::Number(number) => self.bytes(b"d").part(&number.to_string()),
            Value::String(text) => self.bytes(b"s").part(text),
            Value::Array(items) => {
                items.iter().fold(self.bytes(b"a").number(items.len() as u64), |hash, item| hash.value(item))
            }
            Value::Object(map) => {
                let mut keys: Vec<&String> = map.keys().collect();
                keys.sort();
                keys.into_iter().fold(self.bytes(b"o").number(map.len() as u64), |hash, key| {
                    let hash = hash.part(key);
                    map.get(key).map_or(hash, |value| hash.value(value))
                })
            }
        }
    }

    /// The hash of everything added so far.
    pub(crate) fn finish(self) -> u64 {
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self
    }
}

/// Writes a hash as `length` letters of Kubernetes' alphabet for generated names.
pub(crate) fn letters(mut hash: u64, length: usize) -> String {
    let mut text = String::with_capacity(length);
    for _ in 0..length {
        text.push(char::from(ALPHABET[(hash % 27) as usize]));
        hash /= 27;
    }
    text
}

/// A UID in the form of a random UUID, made from the identity of an object.
pub(crate) fn uid(kind: &str, namespace: &str, name: &str) -> String {
    let base = Hasher::new("uid").part(kind).part(namespace).part(name);
    let (high, low) = (base.number(0).finish(), base.number(1).finish());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        0x8000 | ((low >> 48) & 0x3fff),
        low & 0xffff_ffff_ffff,
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parts_are_delimited() {
        assert_ne!(
            Hasher::new("x").part("ab").part("c").finish(),
            Hasher::new("x").part("a").part("bc").finish()
        );
    }

    #[test]
    fn nested_values_hash_by_content() {
        let one = Hasher::new("t").value(&json!({"a": [1, {"b": null}], "c": true})).finish();
        let two = Hasher::new("t").value(&json!({"c": true, "a": [1, {"b": null}]})).finish();
        assert_eq!(one, two);
        assert_ne!(one, Hasher::new("t").value(&json!({"a": [1, {"b": 0}], "c": true})).finish());
    }

    #[test]
    fn uid_has_the_shape_of_a_random_uuid() {
        let uid = uid("Pod", "shop", "web-0");
        let parts: Vec<usize> = uid.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(uid.as_bytes()[14], b'4');
    }
}

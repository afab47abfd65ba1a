use super::*;

#[test]
fn a_pod_is_read() {
    let json = br#"{"metadata":{"name":"a","namespace":"b"}}"#;
    assert_eq!(parse(Kind::Pod, json).unwrap().name(), crate::Name::new("b", "a"));
}

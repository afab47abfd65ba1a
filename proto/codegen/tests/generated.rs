//! The committed code is what the files of `proto/` compile to.

#![allow(clippy::unwrap_used)]

use pilothouse_codegen as codegen;

#[test]
fn committed_code_is_what_the_proto_files_compile_to() {
    let dir = codegen::output_dir();
    let wanted = codegen::generate().unwrap();
    assert!(!wanted.is_empty());
    for (name, content) in &wanted {
        let held = std::fs::read(dir.join(name)).unwrap_or_default();
        assert!(held == *content, "crates/proto/src/gen/{name} is out of date: run `make proto`");
    }
    let held: Vec<String> =
        std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    for name in held {
        assert!(
            wanted.contains_key(&name),
            "crates/proto/src/gen/{name} is left over: no proto file compiles to it"
        );
    }
}

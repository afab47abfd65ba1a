//! The reader of syntax, on small crates: what it finds, and that it finds circles at all.

use super::arrows::Arrows;
use super::circles::{circles, describe};
use super::source::{Crate, Sources};
use super::upward;

fn arrows(files: &[(&str, &str)]) -> anyhow::Result<Arrows> {
    let sources: Sources =
        files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    Ok(Crate::read(&sources, "lib.rs")?.arrows())
}

/// Checks the arrows of a small crate, each written as `from > to: names`.
fn expect(files: &[(&str, &str)], expected: &[&str]) -> anyhow::Result<()> {
    let found: Vec<String> = arrows(files)?
        .into_iter()
        .map(|((from, to), names)| {
            let names: Vec<String> = names.into_iter().collect();
            format!("{} > {}: {}", from.trim_end_matches(".rs"), to.trim_end_matches(".rs"), names.join(" "))
        })
        .collect();
    assert_eq!(found, expected, "{files:?}");
    Ok(())
}

#[test]
fn paths_lead_to_the_file_that_defines_the_name() -> anyhow::Result<()> {
    let a = ("a.rs", "pub struct Row; pub fn make() {} pub const MAX: u8 = 1; pub trait Read {}");
    for (text, expected) in [
        ("use crate::a::Row;", "b > a: Row"),
        ("use crate::a::Row as Line; fn f(_: Line) {}", "b > a: Row"),
        ("use crate::a::{self, make}; fn f() { a::make() }", "b > a: make"),
        ("use crate::{a::{Row, MAX as M}};", "b > a: MAX Row"),
        ("use super::a::Row;", "b > a: Row"),
        ("use crate::a; fn f() { a::make() }", "b > a: make"),
        ("fn f() { crate::a::make() }", "b > a: make"),
        ("fn f() { super::a::make() }", "b > a: make"),
        ("fn f() { use crate::a; a::make() }", "b > a: make"),
        ("fn f() -> [u8; crate::a::MAX as usize] { [0] }", "b > a: MAX"),
        ("impl super::a::Read for u8 {}", "b > a: Read"),
        ("fn f<T: crate::a::Read>(_: Vec<Option<crate::a::Row>>) {}", "b > a: Read Row"),
        ("mod inner { fn f() { super::super::a::make() } }", "b > a: make"),
        ("mod inner { use crate::a::Row; }", "b > a: Row"),
        ("use crate::a::*; fn f() { make() }", "b > a: crate::a::* make"),
        ("fn f() { vec![crate::a::make()]; }", "b > a: make"),
        ("use crate::a; fn f() { assert!(matches!(1, a::MAX), \"{}\", a::make()) }", "b > a: MAX make"),
        ("#[serde(with = \"crate::a::make\")] struct S;", "b > a: make"),
    ] {
        expect(&[("lib.rs", "mod a; mod b;"), a, ("b.rs", text)], &[expected])?;
    }
    Ok(())
}

#[test]
fn names_of_other_crates_and_of_the_own_file_are_no_arrows() -> anyhow::Result<()> {
    for text in [
        "use std::fmt; fn f(_: fmt::Error) {}",
        "use other::a::Row; fn f(_: Row) {}",
        "fn f() { ::a::make() }",
        "struct Own; fn f(_: self::Own, _: crate::b::Own, _: Own) {}",
        "mod inner { pub struct Row; } use inner::Row; fn f(_: Row, _: self::inner::Row) {}",
        "pub(in crate::a) fn f() {}",
        "// crate::a::make\n/// [`crate::a::make`]\nfn f() {}",
        "fn f() { let a = 1; print!(\"{}\", a); x.a::<u8>() }",
        "use crate::a;",
    ] {
        expect(&[("lib.rs", "mod a; mod b;"), ("a.rs", "pub fn make() {}"), ("b.rs", text)], &[])?;
    }
    Ok(())
}

#[test]
fn reexports_lead_on_and_are_no_arrow_of_the_parent() -> anyhow::Result<()> {
    let row = ("a/row.rs", "pub struct Row;");
    let lib = ("lib.rs", "mod a; mod b; pub use a::Row;");
    let parent = "mod row; pub use row::Row;";
    expect(&[lib, ("a/mod.rs", parent), row, ("b.rs", "use crate::Row;")], &["b > a/row: Row"])?;
    expect(&[lib, ("a.rs", parent), row, ("b.rs", "use crate::a::Row;")], &["b > a/row: Row"])?;
    // What the parent itself does with the name counts.
    let parent = "mod row; pub use row::Row; pub fn make() -> Row { Row }";
    expect(&[lib, ("a/mod.rs", parent), row, ("b.rs", "")], &["a/mod > a/row: Row"])?;
    let parent = "mod row; pub use row::Row; pub fn make() { row::Row; }";
    expect(&[lib, ("a/mod.rs", parent), row, ("b.rs", "")], &["a/mod > a/row: Row"])?;
    // So does a re-export of what is not below it.
    let parent = "mod row; pub use row::*; pub use crate::b::Other;";
    let other = ("b.rs", "pub struct Other;");
    let user = ("a/row.rs", "pub struct Row; fn f(_: crate::a::Other) {}");
    expect(&[lib, ("a/mod.rs", parent), user, other], &["a/mod > b: Other", "a/row > b: Other"])?;
    // A name that a module has from elsewhere is its own.
    let parent = ("a/mod.rs", "mod row; pub use other::Time; pub use row::Row;");
    expect(&[lib, parent, row, ("b.rs", "use crate::a::Time;")], &["b > a/mod: Time"])
}

#[test]
fn module_and_function_may_have_one_name() -> anyhow::Result<()> {
    let lib = ("lib.rs", "mod check; mod b;");
    let child = ("check/check.rs", "pub fn check() {}");
    let parent = ("check/mod.rs", "mod check; pub use check::check;");
    let user = ("b.rs", "use crate::check::check; fn f() { check() }");
    expect(&[lib, parent, child, user], &["b > check/check: check"])
}

#[test]
fn imports_that_lead_in_a_circle_lead_nowhere() -> anyhow::Result<()> {
    let a = ("a.rs", "pub use crate::b::Row;");
    let b = ("b.rs", "pub use crate::a::Row; pub use crate::a::*; use x::x; fn f(_: x::Row, _: Row) {}");
    let found = arrows(&[("lib.rs", "mod a; mod b;"), a, b])?;
    assert!(found.keys().all(|(from, to)| from != to), "{found:?}");
    Ok(())
}

#[test]
fn macros_are_used_where_they_are_called() -> anyhow::Result<()> {
    let lib = ("lib.rs", "#[macro_use] mod a; mod b; mod c;");
    let a = ("a.rs", "macro_rules! delegate { ($x:ident) => { $x::new(); $crate::c::make(); c::make() } }");
    let b = ("b.rs", "struct S; impl S { delegate!(x); } fn f() { vec![delegate!(x)]; }");
    let c = ("c.rs", "pub fn make() {}");
    expect(&[lib, a, b, c], &["a > c: make", "b > a: delegate!"])
}

#[test]
fn tests_are_left_out() -> anyhow::Result<()> {
    let lib = ("lib.rs", "mod a; #[cfg(test)] mod fixture;");
    let a = (
        "a.rs",
        "pub fn make() {} #[cfg(test)] mod tests; #[cfg(test)] use crate::fixture::F; \
         #[cfg(all(test, unix))] mod inline { use crate::fixture::F; } \
         impl S { #[cfg(test)] fn f() { crate::fixture::f() } } #[cfg(test)] fn g() { crate::fixture::f() }",
    );
    let sources = [lib, a, ("fixture.rs", "use crate::a::make;"), ("a/tests.rs", "use super::make;")];
    expect(&sources, &[])
}

#[test]
fn missing_file_is_an_error_with_its_name() {
    let error = arrows(&[("lib.rs", "mod gone;")]).err().map(|error| error.to_string());
    assert_eq!(error.as_deref(), Some("there is no gone/mod.rs"));
}

#[test]
fn circle_is_found_and_described_by_the_names_that_cause_it() -> anyhow::Result<()> {
    let found = arrows(&[
        ("lib.rs", "mod a; mod b; mod c; mod d; pub use a::A;"),
        ("a.rs", "use crate::b::B; pub struct A;"),
        ("b.rs", "mod part; use crate::c::C; pub struct B; pub fn make() {}"),
        ("b/part.rs", "fn f() { super::make() }"),
        ("c.rs", "fn f() { crate::b::make() } pub struct C(crate::A);"),
        ("d.rs", "use crate::{A, b::B};"),
    ])?;
    let circles = circles(&found);
    let texts: Vec<String> = circles.iter().map(|circle| describe(circle, &found)).collect();
    let expected = "a circle of 3 files:\n    a.rs uses b.rs: B\n    b.rs uses c.rs: C\n    c.rs uses a.rs: A\n    \
                    c.rs uses b.rs: make";
    assert_eq!(texts, [expected]);
    Ok(())
}

#[test]
fn two_circles_are_told_apart_and_a_parent_may_form_one_with_its_child() -> anyhow::Result<()> {
    let found = arrows(&[
        ("lib.rs", "mod a; mod b;"),
        ("a/mod.rs", "mod x; pub struct A(x::X);"),
        ("a/x.rs", "use super::A; pub struct X(Box<A>); fn f() { crate::b::f() }"),
        ("b.rs", "mod y; pub use y::g; pub fn f() { g() }"),
        ("b/y.rs", "pub fn g() { super::f() }"),
    ])?;
    let circles = circles(&found);
    let sizes: Vec<Vec<&str>> = circles.iter().map(|c| c.iter().map(String::as_str).collect()).collect();
    assert_eq!(sizes, [["a/mod.rs", "a/x.rs"], ["b.rs", "b/y.rs"]]);
    Ok(())
}

#[test]
fn arrow_to_a_higher_room_is_found() -> anyhow::Result<()> {
    let found = arrows(&[
        ("lib.rs", "mod low; mod side; mod high;"),
        ("low.rs", "use crate::high::part::Part; use crate::side::Side;"),
        ("side.rs", "pub struct Side;"),
        ("high/mod.rs", "pub mod part; use crate::low;"),
        ("high/part.rs", "pub struct Part; fn f() { crate::side::Side; }"),
    ])?;
    assert_eq!(
        upward(&["low side", "high"], &found),
        ["low.rs uses high/part.rs, which is in a higher room: Part"]
    );
    assert_eq!(upward(&["side", "high", "low"], &found), [""; 0]);
    assert_eq!(upward(&["high low side"], &found), [""; 0]);
    assert_eq!(
        upward(&["low", "high", "attic"], &found),
        [
            "low.rs uses high/part.rs, which is in a higher room: Part",
            "the room side has no place in the order",
            "the room attic is not there, or is not used",
        ]
    );
    Ok(())
}

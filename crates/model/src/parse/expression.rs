//! Regular expressions, as the proxies that match by them read them (RE2). One that they do not take would cost a proxy
//! all that comes with it.

use regex_syntax::ast::parse::ParserBuilder;
use regex_syntax::ast::{
    AssertionKind, Ast, ClassSet, ClassSetItem, ClassUnicodeKind, Flag, Flags, FlagsItemKind, GroupKind,
    HexLiteralKind, Literal, LiteralKind, RepetitionKind, RepetitionRange,
};

/// How often a part may be repeated, all in all.
const MOST_REPEATED: u32 = 1_000;
/// The most steps of the program that an expression becomes: half of what proxies are told to take, since what is
/// counted here is about as many.
const MOST_STEPS: u32 = 16_384;
const DEEPEST: u32 = 100;

/// Checks an expression.
///
/// # Errors
/// When it is none, has something in it that RE2 does not know, or is too large.
pub(super) fn check(pattern: &str) -> Result<(), String> {
    if pattern.is_empty() {
        return Err("an empty regular expression is none to proxies".to_owned());
    }
    let is_wrong = |why: String| format!("{pattern:?} is no regular expression: {why}");
    let parsed = ParserBuilder::new().nest_limit(DEEPEST).build().parse(pattern);
    let ast = parsed.map_err(|error| is_wrong(error.kind().to_string()))?;
    let steps = steps(&ast, 1).map_err(is_wrong)?;
    if steps > MOST_STEPS {
        return Err(format!("{pattern:?} is too large an expression"));
    }
    Ok(())
}

type Steps = Result<u32, String>;

fn unknown(what: &str) -> String {
    format!("{what} is not known to proxies")
}

/// Returns about how many steps a program for it has, which is repeated so often already.
fn steps(ast: &Ast, repeated: u32) -> Steps {
    match ast {
        Ast::Empty(_) => Ok(1),
        Ast::Flags(set) => flags(&set.flags).map(|()| 1),
        Ast::Literal(of) => literal(of),
        // What is no ASCII has several bytes.
        Ast::Dot(_) => Ok(12),
        Ast::Assertion(of) => match of.kind {
            AssertionKind::StartLine
            | AssertionKind::EndLine
            | AssertionKind::StartText
            | AssertionKind::EndText
            | AssertionKind::WordBoundary
            | AssertionKind::NotWordBoundary => Ok(1),
            _ => Err(unknown("this kind of boundary")),
        },
        Ast::ClassUnicode(of) => unicode(&of.kind),
        Ast::ClassPerl(_) => Ok(12),
        Ast::ClassBracketed(of) => set(&of.kind).map(|steps| steps.saturating_add(12)),
        Ast::Repetition(of) => {
            if matches!(*of.ast, Ast::Repetition(_)) {
                return Err("what is repeated is repeated".to_owned());
            }
            let times = match &of.op.kind {
                RepetitionKind::ZeroOrOne | RepetitionKind::ZeroOrMore | RepetitionKind::OneOrMore => 1,
                RepetitionKind::Range(RepetitionRange::Exactly(times)) => *times,
                RepetitionKind::Range(RepetitionRange::AtLeast(times)) => times.saturating_add(1),
                RepetitionKind::Range(RepetitionRange::Bounded(_, most)) => *most,
            };
            let all = repeated.saturating_mul(times.max(1));
            if all > MOST_REPEATED {
                return Err(format!("a part of it is repeated more than {MOST_REPEATED} times"));
            }
            Ok(steps(&of.ast, all)?.saturating_add(2).saturating_mul(times.max(1)))
        }
        Ast::Group(of) => {
            if let GroupKind::NonCapturing(of) = &of.kind {
                flags(of)?;
            }
            Ok(steps(&of.ast, repeated)?.saturating_add(2))
        }
        Ast::Alternation(of) => all(&of.asts, repeated),
        Ast::Concat(of) => all(&of.asts, repeated),
    }
}

fn all(of: &[Ast], repeated: u32) -> Steps {
    of.iter().try_fold(1_u32, |sum, ast| Ok(sum.saturating_add(steps(ast, repeated)?).saturating_add(1)))
}

fn flags(of: &Flags) -> Result<(), String> {
    let is_known = |kind: &FlagsItemKind| {
        matches!(
            kind,
            FlagsItemKind::Negation
                | FlagsItemKind::Flag(
                    Flag::CaseInsensitive | Flag::MultiLine | Flag::DotMatchesNewLine | Flag::SwapGreed
                )
        )
    };
    if of.items.iter().all(|item| is_known(&item.kind)) { Ok(()) } else { Err(unknown("a flag")) }
}

fn literal(of: &Literal) -> Steps {
    match of.kind {
        LiteralKind::HexFixed(HexLiteralKind::UnicodeShort | HexLiteralKind::UnicodeLong)
        | LiteralKind::HexBrace(HexLiteralKind::UnicodeShort | HexLiteralKind::UnicodeLong) => {
            Err(unknown("a character by \\u"))
        }
        // A backslash before what has no meaning.
        LiteralKind::Superfluous if !of.c.is_ascii_punctuation() => Err(unknown("such an escape")),
        LiteralKind::Octal => Err(unknown("a character by an octal number")),
        // In either case, perhaps.
        _ => Ok(2 * u32::try_from(of.c.len_utf8()).unwrap_or(4)),
    }
}

fn unicode(of: &ClassUnicodeKind) -> Steps {
    match of {
        ClassUnicodeKind::OneLetter('L' | 'M' | 'N' | 'P' | 'S' | 'Z' | 'C') => Ok(2_000),
        _ => Err(unknown("this class of characters")),
    }
}

fn set(of: &ClassSet) -> Steps {
    match of {
        ClassSet::Item(item) => set_item(item),
        ClassSet::BinaryOp(_) => Err(unknown("an operation on classes")),
    }
}

fn set_item(of: &ClassSetItem) -> Steps {
    match of {
        ClassSetItem::Empty(_) => Ok(0),
        ClassSetItem::Literal(of) => literal(of),
        ClassSetItem::Range(of) => {
            Ok(literal(&of.start)?.saturating_add(literal(&of.end)?).saturating_add(12))
        }
        ClassSetItem::Ascii(_) | ClassSetItem::Perl(_) => Ok(12),
        ClassSetItem::Unicode(of) => unicode(&of.kind),
        ClassSetItem::Bracketed(_) => Err(unknown("a class within a class")),
        ClassSetItem::Union(of) => {
            of.items.iter().try_fold(0_u32, |sum, item| Ok(sum.saturating_add(set_item(item)?)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proxies_do_not_know_is_refused() {
        for pattern in [
            "a.*",
            "/v[0-9]+/.*",
            "(?i:a|b)+?",
            "^a$",
            r"\d+\.\w",
            "[[:alpha:]-]",
            r"\x{e4}",
            "a{3,7}",
            "(?P<n>a)",
            "ä",
            r"\/a\-b",
            r"[^\]]",
        ] {
            assert_eq!(check(pattern), Ok(()), "{pattern:?}");
        }
        for pattern in [
            "",
            "(",
            "a)",
            "[",
            "*",
            "a**",
            "a+*",
            "(?x) a",
            "[a&&b]",
            "[a[b]]",
            r"\u00e4",
            r"\b{start}",
            "a{1001}",
            "(a{100}){11}",
            r"\C",
            r"(?=a)",
            r"\1",
            r"\p{Greek}",
            "((a{30}){30}b[a-z]{1000}){1}",
            r"[\d]{999}c{999}",
        ] {
            assert!(check(pattern).is_err(), "{pattern:?}");
        }
    }
}

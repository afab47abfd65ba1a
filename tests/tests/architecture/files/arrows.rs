//! Which file of a crate uses which, and by what names.

use super::resolve::Found;
use super::source::{Crate, Import, attributes, imports, is_test};
use std::collections::{BTreeMap, BTreeSet};
use syn::buffer::{Cursor, TokenBuffer};
use syn::visit::{self, Visit};

/// The files that use one another: from and to, each with the names that are the reason.
pub type Arrows = BTreeMap<(String, String), BTreeSet<String>>;

impl Crate {
    /// Returns every arrow between two files.
    ///
    /// A module that re-exports what is below it does not thereby use it: whoever asks for the name is led
    /// to the file that defines it. Calls of methods are not seen, since their types are not known.
    pub fn arrows(&self) -> Arrows {
        let mut arrows = Arrows::new();
        for (module, declared) in self.modules.iter().enumerate() {
            let mut visitor = Visitor { all: self, module, tokens_are: Tokens::Code, arrows: &mut arrows };
            declared.code.iter().for_each(|item| visitor.visit_item(item));
        }
        arrows
    }
}

struct Visitor<'a> {
    all: &'a Crate,
    /// The module whose code is read.
    module: usize,
    tokens_are: Tokens,
    arrows: &'a mut Arrows,
}

/// What tokens that are not parsed belong to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tokens {
    /// An expression or the like, inside the call of a macro.
    Code,
    /// The definition of a macro, in which names mean something only where the macro is used.
    Definition,
    /// An attribute, which may hold paths as strings.
    Attribute,
}

impl Visitor<'_> {
    fn file(&self) -> usize {
        self.all.modules[self.module].file
    }

    fn arrow(&mut self, to: usize, name: &str) {
        let from = self.file();
        if from != to {
            let ends = (self.all.files[from].clone(), self.all.files[to].clone());
            self.arrows.entry(ends).or_default().insert(name.to_owned());
        }
    }

    fn path(&mut self, path: &[String]) {
        for found in self.all.resolve(self.module, path) {
            if let Found::Item(file, name) = found {
                self.arrow(file, &name);
            }
        }
    }

    fn import(&mut self, import: &Import) {
        for found in self.all.resolve(self.module, &import.path) {
            let (file, name) = match (found, &import.name) {
                (Found::Item(file, name), Some(_)) => (file, name),
                // The names are followed one by one; this is for methods of traits among them.
                (Found::Module(module), None) if !self.all.modules[module].items.is_empty() => {
                    (self.all.modules[module].file, format!("{}::*", import.path.join("::")))
                }
                _ => continue,
            };
            let is_below = |m: usize| self.all.modules[m].file == file && self.all.is_below(m, self.module);
            let is_reexport = import.is_public && (0..self.all.modules.len()).any(is_below);
            if !is_reexport {
                self.arrow(file, &name);
            }
        }
    }

    fn macro_name(&mut self, name: &str) {
        if let Some(file) = self.all.macros.get(name) {
            self.arrow(*file, &format!("{name}!"));
        }
    }

    /// Reads the paths in tokens of which nothing is known but that they are Rust.
    fn tokens(&mut self, mut at: Cursor<'_>) {
        let mut path: Vec<String> = Vec::new();
        let mut after_dot = false;
        while !at.eof() {
            if let Some((ident, rest)) = at.ident() {
                path.push(ident.to_string());
                at = rest;
                if let Some(rest) = colons(rest) {
                    at = rest;
                    continue;
                }
                let is_call = at.punct().is_some_and(|(punct, _)| punct.as_char() == '!');
                if is_call && let Some(name) = path.last() {
                    self.macro_name(&name.clone());
                }
                let is_absolute = path[0] == "crate";
                if !after_dot && (is_absolute || self.tokens_are != Tokens::Definition) {
                    self.path(&path);
                }
                path.clear();
                after_dot = false;
            } else if let Some((inside, _, _, rest)) = at.any_group() {
                self.tokens(inside);
                path.clear();
                at = rest;
            } else if let Some((punct, rest)) = at.punct() {
                after_dot = punct.as_char() == '.';
                path.clear();
                at = rest;
            } else if let Some((literal, rest)) = at.literal() {
                let text = literal.to_string();
                if self.tokens_are == Tokens::Attribute
                    && let Ok(path) = syn::parse_str::<syn::Path>(text.trim_matches('"'))
                    && path.segments.len() > 1
                {
                    self.visit_path(&path);
                }
                path.clear();
                at = rest;
            } else if let Some((_, rest)) = at.token_tree() {
                path.clear();
                at = rest;
            } else {
                break;
            }
        }
    }
}

/// Skips two colons.
fn colons(at: Cursor<'_>) -> Option<Cursor<'_>> {
    let (first, rest) = at.punct()?;
    let (second, rest) = rest.punct()?;
    (first.as_char() == ':' && second.as_char() == ':').then_some(rest)
}

impl<'ast> Visit<'ast> for Visitor<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_test(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    // The code of a module that is written inline is visited as that of a module.
    fn visit_item_mod(&mut self, _: &'ast syn::ItemMod) {}

    // `pub(in path)` says who may use this, not what this uses.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        imports(item).iter().for_each(|import| self.import(import));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if path.leading_colon.is_none() {
            self.path(&segments);
        }
        visit::visit_path(self, path);
    }

    fn visit_item_macro(&mut self, item: &'ast syn::ItemMacro) {
        if item.ident.is_some() {
            self.tokens_are = Tokens::Definition;
        }
        visit::visit_item_macro(self, item);
        self.tokens_are = Tokens::Code;
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        if let Some(segment) = call.path.segments.last() {
            self.macro_name(&segment.ident.to_string());
        }
        self.tokens(TokenBuffer::new2(call.tokens.clone()).begin());
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if let syn::Meta::List(list) = &attribute.meta {
            self.tokens_are = Tokens::Attribute;
            self.tokens(TokenBuffer::new2(list.tokens.clone()).begin());
            self.tokens_are = Tokens::Code;
        }
    }
}

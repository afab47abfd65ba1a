//! The modules of a crate: what each declares and imports, read from its syntax.

use anyhow::{Context, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use syn::meta::ParseNestedMeta;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, UseTree, Visibility};

/// The text of the files of one crate, by their paths below `src`.
pub type Sources = BTreeMap<String, String>;

/// One module, declared as a file or inline.
#[derive(Default)]
pub struct Module {
    /// The file that its code is in.
    pub file: usize,
    pub parent: Option<usize>,
    pub children: BTreeMap<String, usize>,
    /// Functions, types, traits, constants and macros declared in it.
    pub items: BTreeSet<String>,
    pub imports: Vec<Import>,
    pub code: Vec<Item>,
}

/// One name that a `use` brings in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// The name here; none where it is all names of a module.
    pub name: Option<String>,
    /// The segments of the path as written.
    pub path: Vec<String>,
    /// Whether others see the name too.
    pub is_public: bool,
}

/// A crate without its tests.
#[derive(Default)]
pub struct Crate {
    /// The paths of the files that belong to it; the first is the root.
    pub files: Vec<String>,
    /// The modules; the first is the root.
    pub modules: Vec<Module>,
    /// The files of its macros by name.
    pub macros: BTreeMap<String, usize>,
}

impl Crate {
    /// Reads a crate from its root file, such as `lib.rs`, on.
    ///
    /// # Errors
    ///
    /// A file that is missing or that cannot be parsed.
    pub fn read(sources: &Sources, root: &str) -> anyhow::Result<Self> {
        let mut found = Self::default();
        found.read_file(sources, root, "", None)?;
        Ok(found)
    }

    /// Reads a file as a module, whose children are in `folder` (with a slash at its end).
    fn read_file(
        &mut self,
        sources: &Sources,
        path: &str,
        folder: &str,
        parent: Option<usize>,
    ) -> anyhow::Result<usize> {
        let text = sources.get(path).with_context(|| format!("there is no {path}"))?;
        let parsed = syn::parse_file(text).with_context(|| format!("cannot parse {path}"))?;
        self.files.push(path.to_owned());
        let file = self.files.len() - 1;
        self.read_module(sources, file, folder, parent, parsed.items)
    }

    fn read_module(
        &mut self,
        sources: &Sources,
        file: usize,
        folder: &str,
        parent: Option<usize>,
        mut code: Vec<Item>,
    ) -> anyhow::Result<usize> {
        let at = self.modules.len();
        self.modules.push(Module { file, parent, ..Module::default() });
        for item in &mut code {
            if is_test(attributes(item)) {
                continue;
            }
            match item {
                Item::Mod(module) => {
                    ensure!(
                        !module.attrs.iter().any(|attribute| attribute.path().is_ident("path")),
                        "{} is at a path of its own, which this test does not follow",
                        module.ident
                    );
                    let name = module.ident.to_string();
                    let below = format!("{folder}{name}/");
                    let child = match module.content.take() {
                        Some((_, items)) => self.read_module(sources, file, &below, Some(at), items)?,
                        None => {
                            let (flat, nested) = (format!("{folder}{name}.rs"), format!("{below}mod.rs"));
                            let path = if sources.contains_key(&flat) { flat } else { nested };
                            self.read_file(sources, &path, &below, Some(at))?
                        }
                    };
                    self.modules[at].children.insert(name, child);
                }
                Item::Macro(definition) => {
                    if let Some(name) = &definition.ident {
                        self.macros.insert(name.to_string(), file);
                    }
                }
                _ => self.modules[at].items.extend(name_of(item)),
            }
            // Imports inside functions count as those of the module.
            Imports(&mut self.modules[at].imports).visit_item(item);
        }
        self.modules[at].code = code;
        Ok(at)
    }

    /// Tells whether a module is `ancestor` or below it.
    pub fn is_below(&self, module: usize, ancestor: usize) -> bool {
        let parents = |module: &usize| self.modules[*module].parent;
        std::iter::successors(Some(module), parents).any(|module| module == ancestor)
    }
}

/// Gathers imports, wherever in an item they are.
struct Imports<'a>(&'a mut Vec<Import>);

impl<'ast> Visit<'ast> for Imports<'_> {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.0.extend(imports(item));
    }

    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, _: &'ast ItemMod) {}
}

/// Returns the names that a `use` brings in.
pub fn imports(item: &ItemUse) -> Vec<Import> {
    fn walk(tree: &UseTree, path: &mut Vec<String>, is_public: bool, found: &mut Vec<Import>) {
        let mut add = |name: Option<String>, path: &[String]| {
            found.push(Import { name, path: path.to_owned(), is_public });
        };
        match tree {
            UseTree::Path(part) => {
                path.push(part.ident.to_string());
                walk(&part.tree, path, is_public, found);
                path.pop();
            }
            // `a::{self}` names `a` itself.
            UseTree::Name(leaf) if leaf.ident == "self" => add(path.last().cloned(), path),
            UseTree::Rename(leaf) if leaf.ident == "self" => add(Some(leaf.rename.to_string()), path),
            UseTree::Name(leaf) => {
                path.push(leaf.ident.to_string());
                add(path.last().cloned(), path);
                path.pop();
            }
            UseTree::Rename(leaf) => {
                path.push(leaf.ident.to_string());
                add(Some(leaf.rename.to_string()), path);
                path.pop();
            }
            UseTree::Glob(_) => add(None, path),
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| walk(tree, path, is_public, found));
            }
        }
    }
    let mut found = Vec::new();
    let is_public = !matches!(item.vis, Visibility::Inherited);
    walk(&item.tree, &mut Vec::new(), is_public, &mut found);
    found
}

/// The attributes of an item.
pub fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(i) => &i.attrs,
        Item::Enum(i) => &i.attrs,
        Item::ExternCrate(i) => &i.attrs,
        Item::Fn(i) => &i.attrs,
        Item::ForeignMod(i) => &i.attrs,
        Item::Impl(i) => &i.attrs,
        Item::Macro(i) => &i.attrs,
        Item::Mod(i) => &i.attrs,
        Item::Static(i) => &i.attrs,
        Item::Struct(i) => &i.attrs,
        Item::Trait(i) => &i.attrs,
        Item::TraitAlias(i) => &i.attrs,
        Item::Type(i) => &i.attrs,
        Item::Union(i) => &i.attrs,
        Item::Use(i) => &i.attrs,
        _ => &[],
    }
}

/// Tells whether attributes say that something is compiled for tests only.
pub fn is_test(attributes: &[Attribute]) -> bool {
    fn reads_test(meta: ParseNestedMeta<'_>, found: &mut bool) -> syn::Result<()> {
        *found |= meta.path.is_ident("test");
        if meta.path.is_ident("all") {
            meta.parse_nested_meta(|inner| reads_test(inner, found))?;
        }
        Ok(())
    }
    attributes.iter().any(|attribute| {
        let mut found = false;
        if attribute.path().is_ident("cfg") {
            // Conditions of another shape, such as `feature = "x"`, are none of tests.
            let _ = attribute.parse_nested_meta(|meta| reads_test(meta, &mut found));
        }
        found
    })
}

/// The name that an item declares in its module; none for what declares none.
fn name_of(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(i) => &i.ident,
        Item::Enum(i) => &i.ident,
        Item::Fn(i) => &i.sig.ident,
        Item::Static(i) => &i.ident,
        Item::Struct(i) => &i.ident,
        Item::Trait(i) => &i.ident,
        Item::TraitAlias(i) => &i.ident,
        Item::Type(i) => &i.ident,
        Item::Union(i) => &i.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

/// The root files of a crate: of its library, of its program, or of both.
///
/// # Errors
///
/// Sources that have neither.
pub fn roots(sources: &Sources) -> anyhow::Result<Vec<&'static str>> {
    let found: Vec<_> =
        ["lib.rs", "main.rs"].into_iter().filter(|root| sources.contains_key(*root)).collect();
    if found.is_empty() {
        bail!("there is neither lib.rs nor main.rs");
    }
    Ok(found)
}

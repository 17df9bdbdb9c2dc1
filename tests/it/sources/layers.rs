//! The layers of the source files, as `docs/architecture.md` lists them. A module imports only from the layers below
//! its own. Only a few files may import each other in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use syn::visit::{self, Visit};
use syn::{ItemMod, ItemUse, Macro, UseTree};

/// The layers from top to bottom. Modules of one layer do not import each other. There are two exceptions: the top
/// layer, and the layers from [`SHARED_FROM`] on, whose small modules all modules may use.
const LAYERS: &[&[&str]] = &[
    &["main", "cli", "fuzzing", "lib"],
    &["app"],
    &["http"],
    &["ws"],
    &["actions"],
    &["presence", "webhooks", "jobs"],
    &["realtime", "functions"],
    &["store", "auth", "outbound", "mongod"],
    &["model", "limits", "telemetry", "protocol", "config", "lifecycle", "retry", "supervisor", "error"],
];

/// The index of a layer in [`LAYERS`]. In this layer and in each layer below it, modules of the same layer may import
/// each other.
const SHARED_FROM: usize = 7;

/// The largest allowed number of files that import each other in a circle.
const CIRCLE: usize = 3;

/// The largest allowed number of files directly in `src`, outside its folders.
const FILES_IN_SRC: usize = 8;

/// The path of a module from the root of the crate.
type Module = Vec<String>;

/// The paths that occur in a file, in its imports and in its other code.
#[derive(Default)]
struct Named(Vec<Vec<String>>);

impl Named {
    fn tree(&mut self, tree: &UseTree, before: &[String]) {
        let with = |name: String| before.iter().cloned().chain([name]).collect::<Vec<_>>();
        match tree {
            UseTree::Path(path) => self.tree(&path.tree, &with(path.ident.to_string())),
            UseTree::Name(name) => self.0.push(with(name.ident.to_string())),
            UseTree::Rename(rename) => self.0.push(with(rename.ident.to_string())),
            UseTree::Glob(_) => self.0.push(before.to_vec()),
            UseTree::Group(group) => group.items.iter().for_each(|item| self.tree(item, before)),
        }
    }
}

impl<'ast> Visit<'ast> for Named {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.tree(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.0.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast Macro) {
        let tokens = called.tokens.to_string();
        let words: Vec<_> = tokens.split_whitespace().collect();
        for (at, _) in words.iter().enumerate().filter(|(_, word)| **word == "crate") {
            let rest = words[at..].chunks(2).take_while(|pair| pair.len() == 2 && pair[1] == "::");
            self.0.push(rest.map(|pair| pair[0].to_owned()).collect());
        }
        visit::visit_macro(self, called);
    }

    /// Skips unit tests, which may import from any layer.
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        let is_test = |attribute: &syn::Attribute| attribute.path().is_ident("cfg");
        if module.content.is_none() || !module.attrs.iter().any(is_test) {
            visit::visit_item_mod(self, module);
        }
    }
}

/// Reads every source file. Returns for each module whether it is a folder's `mod.rs`, and the paths that it names.
fn sources() -> BTreeMap<Module, (bool, Named)> {
    fn walk(folder: &Path, module: &[String], found: &mut BTreeMap<Module, (bool, Named)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let below = |name: String| module.iter().cloned().chain([name]).collect::<Vec<_>>();
            if path.is_dir() {
                walk(&path, &below(name), found);
            } else if path.extension().is_some_and(|extension| extension == "rs") && name != "tests" {
                let mut named = Named::default();
                named.visit_file(&syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap());
                let is_face = name == "mod";
                let module = if is_face { module.to_vec() } else { below(name) };
                found.insert(module, (is_face, named));
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &[], &mut found);
    found
}

/// Returns the imports between files. Omits an import if a file imports from the `mod.rs` of a folder that contains
/// this file.
fn imports() -> BTreeMap<Module, BTreeSet<Module>> {
    let sources = sources();
    let target = |from: &Module, path: &[String]| -> Option<Module> {
        let absolute = match path.first()?.as_str() {
            "crate" => path[1..].to_vec(),
            "self" => from.iter().chain(&path[1..]).cloned().collect(),
            "super" => {
                let up = path.iter().take_while(|segment| *segment == "super").count();
                let base = from.get(..from.len().checked_sub(up)?)?;
                base.iter().chain(&path[up..]).cloned().collect()
            }
            _ => from.iter().chain(path).cloned().collect::<Vec<_>>(),
        };
        let prefixes = (1..=absolute.len()).rev().map(|length| absolute[..length].to_vec());
        let found = prefixes.into_iter().find(|module| sources.contains_key(module))?;
        let is_face = sources[&found].0 && from.starts_with(&found);
        (found != *from && !is_face).then_some(found)
    };
    let of = |(from, (_, named)): (&Module, &(bool, Named))| {
        (from.clone(), named.0.iter().filter_map(|path| target(from, path)).collect())
    };
    sources.iter().map(of).collect()
}

fn layer(module: &Module) -> usize {
    let name = module[0].as_str();
    let layer = LAYERS.iter().position(|layer| layer.contains(&name));
    layer.unwrap_or_else(|| {
        panic!("src/{name} stands in no layer: add it to LAYERS and to docs/architecture.md")
    })
}

#[test]
fn modules_import_only_from_lower_layers() {
    let imports = imports();
    let mut arrows = 0;
    let mut upward = Vec::new();
    for (from, to) in imports.iter().flat_map(|(from, all)| all.iter().map(move |to| (from, to))) {
        arrows += 1;
        let (above, below) = (layer(from), layer(to));
        let beside = above == below && (above >= SHARED_FROM || above == 0);
        if from[0] != to[0] && below <= above && !beside {
            upward.push(format!("{} -> {}", from.join("/"), to.join("/")));
        }
    }
    assert!(arrows > 500, "only {arrows} imports were read");
    assert!(upward.is_empty(), "these import upwards: {upward:#?}");
}

#[test]
fn circles_of_files_are_small() {
    let imports = imports();
    let reached = |from: &Module| {
        let mut reached = BTreeSet::new();
        let mut next: Vec<_> = imports[from].iter().collect();
        while let Some(module) = next.pop() {
            if reached.insert(module.clone()) {
                next.extend(&imports[module]);
            }
        }
        reached
    };
    let reached: BTreeMap<_, _> = imports.keys().map(|module| (module, reached(module))).collect();
    for (module, others) in &reached {
        let circle: Vec<_> = others.iter().filter(|other| reached[other].contains(*module)).collect();
        assert!(circle.len() <= CIRCLE, "these import each other: {circle:?}");
    }
}

#[test]
fn src_holds_few_files_beside_its_folders() {
    let files: Vec<_> = imports().into_keys().filter(|module| module.len() == 1).collect();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files: Vec<_> =
        files.iter().filter(|file| source.join(&file[0]).with_extension("rs").exists()).collect();
    assert!((1..=FILES_IN_SRC).contains(&files.len()), "{files:?}");
}

//! Which files a generated crate has, and who owns each.

use crate::names::snake;
use crate::render::{self, HEADER};
use clap::ValueEnum;
use openapi::document::{Document, Operation};
use openapi::yaml::Error;
use std::path::PathBuf;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Group {
    All,
    Handlers,
    Controllers,
    Registry,
    Main,
    Doc,
    Config,
    Manifest,
}

pub struct File {
    pub path: PathBuf,
    pub group: Group,
    /// A user's file is written once and never again.
    pub owned_by_user: bool,
    pub text: String,
}

/// All files for the document whose text is `spec`.
pub fn files(spec: &str, document: &Document, package: &str, router: &str) -> Result<Vec<File>, Error> {
    let mut files = Vec::new();
    let mut add = |group, path: &str, owned_by_user, text: String| {
        files.push(File { path: path.into(), group, owned_by_user, text });
    };
    let operations: Vec<&Operation> = document.handled().collect();
    for (index, operation) in operations.iter().enumerate() {
        let name = snake(&operation.id);
        if operations[..index].iter().any(|other| snake(&other.id) == name) {
            return Err(operation.at.error(format!("a second operation would become the module `{name}`")));
        }
        let (handler, controller) = (format!("src/handlers/{name}.rs"), format!("src/controllers/{name}.rs"));
        add(Group::Handlers, &handler, false, render::handler(document, operation));
        add(Group::Controllers, &controller, true, render::controller(document, operation));
    }
    let list = |about, more| render::module_list(&operations, about, more);
    let handlers = list("Typed input and output of each operation.", Some("types"));
    let controllers = list("What each operation does; the files are yours.", None);
    add(Group::Handlers, "src/handlers/types.rs", false, render::components(document));
    add(Group::Handlers, "src/handlers/mod.rs", false, handlers);
    add(Group::Controllers, "src/controllers/mod.rs", false, controllers);
    add(Group::Registry, "src/registry.rs", false, render::registry(&operations));
    add(Group::Main, "src/main.rs", false, format!("{HEADER}{MAIN}"));
    add(Group::Main, "src/app.rs", true, "//! What the controllers share. This file is yours.\n".into());
    add(Group::Doc, "doc/openapi.yaml", false, spec.to_string());
    add(Group::Doc, "doc/index.html", false, page(document));
    add(Group::Config, "config/config.yaml", true, config(document));
    add(Group::Manifest, "Cargo.toml", true, manifest(package, router));
    Ok(files)
}

const MAIN: &str = "
mod app;
mod controllers;
mod handlers;
mod registry;

fn main() -> std::process::ExitCode {
    router::run(registry::find)
}
";

fn config(document: &Document) -> String {
    let mut text = String::from("http:\n  max_body_bytes: 65536\n  drain_seconds: 10\n");
    if !document.schemes.is_empty() {
        text.push_str("security:\n");
    }
    for (name, scheme) in &document.schemes {
        let secret = scheme.example.as_deref().unwrap_or("change-me");
        let key = if scheme.prefix.is_empty() { "api_key" } else { "token" };
        text.push_str(&format!("  {name}:\n    {key}: {secret:?}\n"));
    }
    text
}

fn manifest(package: &str, router: &str) -> String {
    format!(
        "[package]\nname = {package:?}\nversion = \"0.1.0\"\nedition = \"2021\"\nrust-version = \"1.85\"\npublish = false\n\n\
         [dependencies]\nrouter = {{ path = {router:?} }}\nserde = {{ version = \"1\", features = [\"derive\"] }}\nserde_json = \"1\"\n"
    )
}

/// The page at /docs: one table, no script, nothing from elsewhere.
fn page(document: &Document) -> String {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;");
    let title = escape(&document.title);
    let row = |Operation { method, path, summary, .. }: &Operation| {
        format!("<tr><td>{method}</td><td>{}</td><td>{}</td></tr>\n", escape(path), escape(summary))
    };
    let rows: String = document.operations.iter().map(row).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
         <style>body {{ font-family: sans-serif; margin: 2em }} td {{ padding: 0.2em 1em 0.2em 0 }}</style>\n\
         <h1>{title}</h1>\n<p>The document: <a href=\"/openapi.yaml\">openapi.yaml</a></p>\n<table>\n{rows}</table>\n</html>\n"
    )
}

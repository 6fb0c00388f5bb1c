//! Which files a generated crate has, and who owns each.

use crate::names::module;
use crate::render::{self, HEADER};
use router::document::{Document, Operation};
use router::yaml::Error;
use std::path::PathBuf;

pub const GROUPS: [&str; 7] = ["handlers", "controllers", "registry", "main", "doc", "config", "manifest"];

pub struct File {
    pub path: PathBuf,
    pub group: &'static str,
    /// A user's file is written once and never again.
    pub owned_by_user: bool,
    pub text: String,
}

/// All files for the document whose text is `spec`.
pub fn files(spec: &str, document: &Document, package: &str, router: &str) -> Result<Vec<File>, Error> {
    let operations: Vec<&Operation> = document.handled().collect();
    check_modules(&operations)?;
    let mut files = Vec::new();
    let mut add = |group, owned_by_user, path: &str, text: String| {
        files.push(File { path: path.into(), group, owned_by_user, text });
    };
    for operation in &operations {
        let name = module(&operation.id);
        add("handlers", false, &format!("src/handlers/{name}.rs"), render::handler(document, operation));
        add(
            "controllers",
            true,
            &format!("src/controllers/{name}.rs"),
            render::controller(document, operation),
        );
    }
    let handlers =
        render::module_list(&operations, "Typed input and output of each operation.", Some("types"));
    let controllers =
        render::module_list(&operations, "What each operation does; the files are yours.", None);
    add("handlers", false, "src/handlers/types.rs", render::components(document));
    add("handlers", false, "src/handlers/mod.rs", handlers);
    add("controllers", false, "src/controllers/mod.rs", controllers);
    add("registry", false, "src/registry.rs", render::registry(&operations));
    add("main", false, "src/main.rs", format!("{HEADER}{MAIN}"));
    add("main", true, "src/app.rs", APP.to_string());
    add("doc", false, "doc/openapi.yaml", spec.to_string());
    add("doc", false, "doc/index.html", page(document));
    add("config", true, "config/config.yaml", config(document));
    add("manifest", true, "Cargo.toml", manifest(package, router));
    Ok(files)
}

fn check_modules(operations: &[&Operation]) -> Result<(), Error> {
    for (index, operation) in operations.iter().enumerate() {
        let name = module(&operation.id);
        if operations[..index].iter().any(|other| module(&other.id) == name) {
            return operation.at.error(format!("a second operation would become the module `{name}`"));
        }
    }
    Ok(())
}

const MAIN: &str = "
mod app;
mod controllers;
mod handlers;
mod registry;

fn main() -> std::process::ExitCode {
    router::run(env!(\"CARGO_PKG_NAME\"), registry::find)
}
";

const APP: &str = "//! What the controllers share. This file is yours.\n";

fn config(document: &Document) -> String {
    let mut text = String::from("http:\n  max_body_bytes: 65536\n  drain_seconds: 10\n");
    if !document.schemes.is_empty() {
        text.push_str("security:\n");
    }
    for scheme in &document.schemes {
        let secret = scheme.example.as_deref().unwrap_or("change-me");
        let key = if scheme.kind == router::document::SchemeKind::Bearer { "token" } else { "api_key" };
        text.push_str(&format!("  {}:\n    {key}: {secret:?}\n", scheme.name));
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
    let mut rows = String::new();
    for operation in &document.operations {
        let cells = [&operation.method, &operation.path, &operation.id, &operation.summary];
        let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect();
        rows.push_str(&format!("<tr>{cells}</tr>\n"));
    }
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
         <style>body {{ font-family: sans-serif; margin: 2em }} td {{ padding: 0.2em 1em 0.2em 0 }}</style>\n\
         <h1>{title}</h1>\n<p>The document: <a href=\"/openapi.yaml\">openapi.yaml</a></p>\n<table>\n{rows}</table>\n</html>\n"
    )
}

//! Generates a service crate from an OpenAPI document.

mod layout;
mod names;
mod output;
mod render;
mod sample;
mod types;

use clap::Parser;
use layout::Group;
use openapi::document::Document;
use std::path::PathBuf;
use std::process::ExitCode;

/// Generates a service crate from an OpenAPI document.
#[derive(Parser)]
struct Options {
    /// The OpenAPI document
    #[arg(long, value_name = "FILE", default_value = "openapi.yaml")]
    spec: String,
    /// The crate to write
    #[arg(long, value_name = "DIR", default_value = "pet_store")]
    out: PathBuf,
    /// Write one group of files; repeatable
    #[arg(long, value_name = "GROUP", default_value = "all")]
    only: Vec<Group>,
    /// The router crate, for a new Cargo.toml
    #[arg(long, value_name = "PATH", default_value = "../router")]
    router: String,
    /// Write nothing; exit with 1 when something would change
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    generate(&Options::parse()).unwrap_or_else(|message| {
        eprintln!("{message}");
        ExitCode::FAILURE
    })
}

fn generate(options: &Options) -> Result<ExitCode, String> {
    let Options { spec: name, out, only, router, check } = options;
    let spec = std::fs::read_to_string(name).map_err(|error| format!("{name}: error: {error}"))?;
    let document = Document::parse(&spec).map_err(|error| format!("{name}:{error}"))?;
    let package = out.file_name().map_or("service".into(), |name| name.to_string_lossy());
    let files = layout::files(&spec, &document, &package, router);
    let mut files = files.map_err(|error| format!("{name}:{error}"))?;
    files.retain(|file| only.contains(&Group::All) || only.contains(&file.group));
    let count = files.len();
    let changes =
        output::changes(out, files).map_err(|error| format!("{}: error: {error}", out.display()))?;
    for change in &changes {
        println!("{change}");
        if !check {
            change.apply().map_err(|error| format!("{change}: error: {error}"))?;
        }
    }
    println!("{} operations, {count} files, {} changes", document.handled().count(), changes.len());
    Ok(ExitCode::from(u8::from(*check && !changes.is_empty())))
}

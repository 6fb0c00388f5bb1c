//! Generates a service crate from an OpenAPI document.

mod layout;
mod names;
mod output;
mod render;
mod sample;
mod types;

use router::document::Document;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
Usage: petstore-gen [OPTIONS]

      --spec FILE     the OpenAPI document [default: openapi.yaml]
      --out DIR       the crate to write [default: pet_store]
      --only GROUP    write one group (repeatable): handlers, controllers, registry, main, doc,
                      config, manifest or all [default: all]
      --router PATH   the router crate, for a new Cargo.toml [default: ../router]
      --check         write nothing; exit with 1 when something would change
  -h, --help          print this
";

struct Options {
    spec: String,
    out: PathBuf,
    only: Vec<String>,
    router: String,
    check: bool,
}

fn main() -> ExitCode {
    let result = match parse(std::env::args().skip(1)) {
        Ok(Some(options)) => generate(&options),
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("petstore-gen: {message}\nTry `petstore-gen --help`.");
            return ExitCode::from(2);
        }
    };
    result.unwrap_or_else(|message| {
        eprintln!("{message}");
        ExitCode::FAILURE
    })
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options {
        spec: "openapi.yaml".into(),
        out: "pet_store".into(),
        only: Vec::new(),
        router: "../router".into(),
        check: false,
    };
    while let Some(flag) = args.next() {
        match flag.as_str() {
            "-h" | "--help" => return Ok(None),
            "--check" => options.check = true,
            "--spec" | "--out" | "--only" | "--router" => {
                let value = args.next().ok_or(format!("`{flag}` needs a value"))?;
                match flag.as_str() {
                    "--spec" => options.spec = value,
                    "--out" => options.out = value.into(),
                    "--router" => options.router = value,
                    _ if value == "all" || layout::GROUPS.contains(&value.as_str()) => {
                        options.only.push(value)
                    }
                    _ => return Err(format!("`{value}` is not a group of files")),
                }
            }
            _ => return Err(format!("unknown argument `{flag}`")),
        }
    }
    Ok(Some(options))
}

fn generate(options: &Options) -> Result<ExitCode, String> {
    let name = &options.spec;
    let spec = std::fs::read_to_string(name).map_err(|error| format!("{name}: error: {error}"))?;
    let document = Document::parse(&spec).map_err(|error| format!("{name}:{error}"))?;
    for warning in &document.warnings {
        eprintln!("{name}:{}", warning.to_string().replacen("error", "warning", 1));
    }
    let package = Path::new(&options.out).file_name().map_or("service".into(), |name| name.to_string_lossy());
    let mut files = layout::files(&spec, &document, &package, &options.router)
        .map_err(|error| format!("{name}:{error}"))?;
    let all = options.only.is_empty() || options.only.iter().any(|group| group == "all");
    files.retain(|file| all || options.only.iter().any(|group| group == file.group));
    let count = files.len();
    let out = options.out.display();
    let changes = output::changes(&options.out, files).map_err(|error| format!("{out}: error: {error}"))?;
    for change in &changes {
        println!("{}", change.describe());
        if !options.check {
            change.apply().map_err(|error| format!("{}: error: {error}", change.describe()))?;
        }
    }
    println!("{} operations, {count} files, {} changes", document.handled().count(), changes.len());
    Ok(match options.check && !changes.is_empty() {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

//! OpenAPI-driven HTTP: a document, handlers for its operations, and this crate make a service.

pub mod body;
mod call;
mod cli;
mod config;
pub mod document;
mod log;
mod metrics;
pub mod parameter;
mod problem;
mod routes;
pub mod schema;
mod security;
mod server;
mod service;
mod url;
pub mod yaml;

pub use body::File;
pub use call::{example, Call, EventStream, Handler, Reply};
pub use problem::{Issue, Problem};

use cli::Options;
use document::Document;
use service::{Pages, Service};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// The whole life of a service: flags, files, serving, stopping. `find` gives the handler of an
/// operation.
pub fn run(name: &str, find: fn(&str) -> Option<Handler>) -> ExitCode {
    log::init();
    log::log_panics();
    let options = match cli::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("Usage: {name} [OPTIONS]\n\n{}", cli::HELP);
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("{name}: {message}\nTry `{name} --help`.");
            return ExitCode::from(2);
        }
    };
    match start(&options, find) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn start(options: &Options, find: fn(&str) -> Option<Handler>) -> Result<(), String> {
    let spec = read(&options.spec)?;
    let document = Document::parse(&spec).map_err(|error| format!("{}:{error}", options.spec.display()))?;
    let config = config::Config::parse(&read(&options.config)?)
        .map_err(|error| format!("{}:{error}", options.config.display()))?;
    let pages = Pages { spec, docs: read(&options.doc_dir.join("index.html")).ok() };
    let service = Service::new(document, find, &config, pages)
        .map_err(|message| format!("{}: error: {message}", options.spec.display()))?;
    server::serve(Arc::new(service), options.addr, config.drain)
        .map_err(|error| format!("{}: error: {error}", options.addr))
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: error: {error}", path.display()))
}

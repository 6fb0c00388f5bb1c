//! OpenAPI-driven HTTP: a document, handlers for its operations, and this crate make a service.

mod body;
mod call;
mod config;
mod metrics;
mod process;
mod security;
mod server;
mod service;

pub use body::File;
pub use call::{example, typed, EventStream, Handler, Input, Reply};
pub use openapi::problem::{Issue, Problem};
pub use telemetry::trace::headers as trace_headers;

use clap::Parser;
use config::{Config, Options};
use openapi::document::Document;
use openapi::yaml::Yaml;
use service::{Pages, Service};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use telemetry::trace;

/// The whole life of a service: flags, files, serving, stopping. `find` gives the handler of an
/// operation.
pub fn run(find: fn(&str) -> Option<Handler>) -> ExitCode {
    if let Err(message) = start(&Options::parse(), find) {
        eprintln!("{message}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn start(options: &Options, find: fn(&str) -> Option<Handler>) -> Result<(), String> {
    let (spec_path, config_path) = (options.spec.display(), options.config.display());
    let spec = read(&options.spec)?;
    let document = Document::parse(&spec).map_err(|error| format!("{spec_path}:{error}"))?;
    let config: Config = Yaml::parse(&read(&options.config)?)
        .and_then(|yaml| yaml.read(""))
        .map_err(|error| format!("{config_path}:{error}"))?;
    let pages = Pages { spec, docs: read(&options.doc_dir.join("index.html"))? };
    let service = Service::new(document, find, &config, pages)
        .map_err(|message| format!("{spec_path}: error: {message}"))?;
    let traces = trace::start();
    let result = server::serve(Arc::new(service), options.addr, config.http.drain_seconds);
    if let Some(traces) = traces {
        traces.stop();
    }
    result.map_err(|error| format!("{}: error: {error}", options.addr))
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: error: {error}", path.display()))
}

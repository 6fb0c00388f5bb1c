//! Another document becomes a service that compiles and answers.

#[rustfmt::skip]
#[path = "../../pet_store/tests/client/mod.rs"]
mod client;

use openapi::document::Document;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SPEC: &str = r##"
openapi: 3.1.0
info: {title: Library, version: "1"}
paths:
  /books/{isbn}:
    get:
      operationId: getBook
      parameters:
        - {name: isbn, in: path, required: true, example: a-1, schema: {type: string}}
      responses: {"200": {description: d, content: {application/json: {schema: {$ref: "#/components/schemas/Book"}}}}}
    put:
      operationId: move
      parameters:
        - {name: isbn, in: path, required: true, example: a-1, schema: {type: string}}
        - {name: type, in: query, example: loan, schema: {type: string, enum: [loan, return]}}
        - {name: body, in: query, example: 2, schema: {type: integer, format: int32}}
      requestBody: {content: {application/json: {schema: {$ref: "#/components/schemas/Book"}, example: {title: T, pages: null, kind: novel}}}}
      responses: {"204": {description: d}}
  /shelves:
    post:
      operationId: "create-shelf"
      requestBody:
        required: true
        content:
          application/json:
            schema: {type: object, required: [rows], properties: {rows: {type: array, items: {type: object, properties: {self: {type: number}}}}}}
            example: {rows: [{self: 1.5}]}
      responses: {"201": {description: d, content: {application/json: {schema: {type: array, items: {$ref: "#/components/schemas/Book"}}}}}}
  /note:
    get:
      operationId: types
      responses: {"200": {description: d, content: {text/plain: {schema: {type: string}, example: hi}}}}
  /cover:
    get:
      operationId: cover
      security: [{Token: []}]
      responses: {"200": {description: d, content: {image/png: {schema: {type: string, format: binary}}}}}
components:
  securitySchemes: {Token: {type: http, scheme: bearer, x-kindloop-example: abc}}
  schemas:
    Kind: {type: string, enum: [novel, "non-fiction", "2nd hand"]}
    Titled: {type: object, required: [title], properties: {title: {type: string}}}
    Book:
      allOf:
        - $ref: "#/components/schemas/Titled"
        - type: object
          required: [pages, kind]
          properties:
            pages: {type: [integer, "null"]}
            kind: {$ref: "#/components/schemas/Kind"}
            pageNotes: {type: object, additionalProperties: {type: boolean}}
"##;

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Compiles a crate, so it is run by name: `cargo test -p petstore-gen -- --ignored`.
#[test]
#[ignore]
fn another_document_becomes_a_service() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let directory = target.join("library");
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("openapi.yaml"), SPEC).unwrap();
    let mut generate = Command::new(env!("CARGO_BIN_EXE_petstore-gen"));
    let router = workspace.join("router");
    generate.args(["--out", "library", "--router"]).arg(&router).current_dir(&directory);
    run(&mut generate);
    let package = directory.join("library");
    // The lock file of the workspace, so that nothing has to be looked up.
    fs::copy(workspace.join("Cargo.lock"), package.join("Cargo.lock")).unwrap();
    let manifest = fs::read_to_string(package.join("Cargo.toml")).unwrap();
    fs::write(package.join("Cargo.toml"), manifest + "\n[workspace]\n").unwrap();
    let target = target.parent().unwrap();
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--offline"]).current_dir(&package).env("CARGO_TARGET_DIR", target);
    run(&mut build);
    let document = Document::parse(SPEC).unwrap();
    let server = client::Server::start(&target.join("debug/library"), &package);
    document.operations.iter().for_each(|operation| server.check(&document, operation));
}

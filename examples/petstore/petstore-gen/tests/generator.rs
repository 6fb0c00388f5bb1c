//! The generator's promises about the files that it writes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::SystemTime;

const SPEC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../openapi.yaml");

/// A directory that is gone after the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("petstore-gen-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        fs::copy(SPEC, path.join("openapi.yaml")).unwrap();
        Self(path)
    }

    fn generate(&self, args: &[&str]) -> Output {
        let program = env!("CARGO_BIN_EXE_petstore-gen");
        Command::new(program).args(["--out", "shop"]).args(args).current_dir(&self.0).output().unwrap()
    }

    fn edit(&self, file: &str, change: impl Fn(&str) -> String) {
        let path = self.0.join(file);
        fs::write(&path, change(&fs::read_to_string(&path).unwrap())).unwrap();
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn tree(directory: &Path) -> Vec<(PathBuf, Vec<u8>, SystemTime)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(tree(&path)),
            false => files.push((
                path.clone(),
                fs::read(&path).unwrap(),
                path.metadata().unwrap().modified().unwrap(),
            )),
        }
    }
    files.sort();
    files
}

#[test]
fn a_second_run_changes_nothing() {
    let (one, two) = (Directory::new("one"), Directory::new("two"));
    assert_eq!(one.generate(&["--check"]).status.code(), Some(1));
    assert!(!one.0.join("shop").exists());
    assert!(one.generate(&[]).status.success() && two.generate(&[]).status.success());
    let before = tree(&one.0.join("shop"));
    assert!(one.generate(&[]).status.success() && one.generate(&["--check"]).status.success());
    assert_eq!(tree(&one.0.join("shop")), before);
    let contents = |directory: &Directory| {
        tree(&directory.0.join("shop")).into_iter().map(|file| file.1).collect::<Vec<_>>()
    };
    assert_eq!(contents(&one), contents(&two));
}

#[test]
fn the_users_files_stay_and_stale_ones_go() {
    let directory = Directory::new("owner");
    directory.generate(&[]);
    directory.edit("shop/src/controllers/get_pet.rs", |_| "// mine".to_string());
    directory.edit("shop/config/config.yaml", |_| "# mine".to_string());
    directory.edit("shop/src/registry.rs", |_| "// broken".to_string());
    directory.edit("openapi.yaml", |spec| spec.replace("operationId: list_pets", "operationId: browse_pets"));
    assert!(directory.generate(&["--only", "handlers"]).status.success());
    assert_eq!(directory.read("shop/src/registry.rs"), "// broken");
    assert!(directory.generate(&[]).status.success());
    assert_eq!(directory.read("shop/src/controllers/get_pet.rs"), "// mine");
    assert_eq!(directory.read("shop/config/config.yaml"), "# mine");
    assert!(directory
        .read("shop/src/registry.rs")
        .contains("\"browse_pets\" => handlers::browse_pets::call,"));
    assert!(!directory.0.join("shop/src/handlers/list_pets.rs").exists());
    assert!(directory.0.join("shop/src/controllers/list_pets.rs").exists());
}

#[test]
fn a_broken_document_is_located_and_nothing_is_written() {
    let cases = [
        ("operationId: health", "operationId: [health", "openapi.yaml:"),
        (
            "operationId: metrics",
            "operationId: health",
            "openapi.yaml:27:5: error: duplicate operationId `health`",
        ),
        (
            "minItems: 1, maxItems",
            "pattern: a, maxItems",
            "openapi.yaml:379:33: error: unknown field `pattern`",
        ),
        ("in: query, example: dog", "in: cookie, example: dog", "error: unknown variant `cookie`"),
        ("/schemas/Pet\"", "/schemas/Pat\"", ": error: `#/components/schemas/Pat` leads nowhere"),
    ];
    for (from, to, message) in cases {
        let directory = Directory::new("broken");
        directory.edit("openapi.yaml", |spec| spec.replacen(from, to, 1));
        let output = directory.generate(&[]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && stderr.contains(message), "{stderr}");
        assert!(stderr.contains(": error: ") && !directory.0.join("shop").exists());
    }
}

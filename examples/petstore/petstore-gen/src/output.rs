//! Bringing a directory in line with the files that it should have.

use crate::layout::File;
use crate::render::HEADER;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub enum Change {
    Write(PathBuf, String),
    Remove(PathBuf),
}

/// What has to change below `out`; nothing is touched.
pub fn changes(out: &Path, files: Vec<File>) -> io::Result<Vec<Change>> {
    let mut changes = Vec::new();
    let handlers = out.join("src/handlers");
    if files.iter().any(|file| file.group == "handlers") && handlers.is_dir() {
        let mut present =
            fs::read_dir(&handlers)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        present.sort();
        let wanted = |path: &PathBuf| files.iter().any(|file| out.join(&file.path) == *path);
        let stale = present.into_iter().filter(|path| !wanted(path) && is_generated(path));
        changes.extend(stale.map(Change::Remove));
    }
    for file in files {
        let path = out.join(&file.path);
        match fs::read(&path) {
            Ok(_) if file.owned_by_user => {}
            Ok(bytes) if bytes == file.text.as_bytes() => {}
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => changes.push(Change::Write(path, file.text)),
        }
    }
    Ok(changes)
}

fn is_generated(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
        && fs::read_to_string(path).is_ok_and(|text| text.starts_with(HEADER))
}

impl Change {
    pub fn describe(&self) -> String {
        match self {
            Self::Write(path, _) => format!("write {}", path.display()),
            Self::Remove(path) => format!("remove {}", path.display()),
        }
    }

    /// Writes to a temporary file first: a reader sees the old text or the new, never a part.
    pub fn apply(&self) -> io::Result<()> {
        match self {
            Self::Remove(path) => fs::remove_file(path),
            Self::Write(path, text) => {
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent)?;
                }
                let mut name = path.file_name().unwrap_or_default().to_os_string();
                name.push(format!(".{}.tmp", std::process::id()));
                let temporary = path.with_file_name(name);
                let result = fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, path));
                if result.is_err() {
                    let _ = fs::remove_file(&temporary);
                }
                result
            }
        }
    }
}

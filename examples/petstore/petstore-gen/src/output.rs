//! Bringing a directory in line with the files that it should have.

use crate::layout::{File, Group};
use crate::render::HEADER;
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub struct Change {
    path: PathBuf,
    /// None when the file has to go.
    text: Option<String>,
}

/// What has to change below `out`; nothing is touched.
pub fn changes(out: &Path, files: Vec<File>) -> io::Result<Vec<Change>> {
    let mut changes = Vec::new();
    let handlers = out.join("src/handlers");
    if files.iter().any(|file| file.group == Group::Handlers) && handlers.is_dir() {
        let present = fs::read_dir(&handlers)?.map(|entry| Ok(entry?.path()));
        let present = present.collect::<io::Result<BTreeSet<PathBuf>>>()?;
        let wanted = |path: &PathBuf| files.iter().any(|file| out.join(&file.path) == *path);
        let stale = present.into_iter().filter(|path| !wanted(path) && is_generated(path));
        changes.extend(stale.map(|path| Change { path, text: None }));
    }
    for file in files {
        let path = out.join(&file.path);
        match fs::read(&path) {
            Ok(_) if file.owned_by_user => {}
            Ok(bytes) if bytes == file.text.as_bytes() => {}
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => changes.push(Change { path, text: Some(file.text) }),
        }
    }
    Ok(changes)
}

fn is_generated(path: &Path) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.starts_with(HEADER))
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.text.is_some() { "write" } else { "remove" };
        write!(f, "{verb} {}", self.path.display())
    }
}

impl Change {
    /// Writes to a temporary file first: a reader sees the old text or the new, never a part.
    pub fn apply(&self) -> io::Result<()> {
        let Some(text) = &self.text else { return fs::remove_file(&self.path) };
        fs::create_dir_all(self.path.parent().unwrap_or(Path::new(".")))?;
        let temporary = self.path.with_extension(format!("{}.tmp", std::process::id()));
        let result = fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, &self.path));
        if result.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        result
    }
}

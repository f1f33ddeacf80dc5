//! Files of a test's own.

use std::fs;
use std::path::PathBuf;

/// A folder that is gone after the test.
pub struct Folder(PathBuf);

impl Folder {
    /// Makes it.
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("keryu-test-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("folder");
        Self(path)
    }

    /// Its path.
    pub fn path(&self) -> String {
        self.0.to_string_lossy().into_owned()
    }

    /// Writes a file in it. Answers with its path.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        fs::write(&path, text).expect("file");
        path.to_string_lossy().into_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // what stays behind is in the folder for temporary files
        let _ = fs::remove_dir_all(&self.0);
    }
}

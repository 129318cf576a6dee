//! What an attack is after: a directory of the host. It stays as it was, or the attack has worked.

use std::fs;
use std::path::{Path, PathBuf};

use garboard_integration_tests::case::{Done, Failure, Test};
use garboard_integration_tests::leaks;

/// A directory of the host that nothing may touch.
pub struct Canary {
    pub dir: PathBuf,
}

impl Canary {
    pub fn new(t: &Test) -> Result<Canary, Failure> {
        let dir = t.scratch("canary")?;
        fs::write(dir.join("host-canary"), "untouched")?;
        Ok(Canary { dir })
    }

    /// A link target that leads to the canary if it is followed on the host: by its full path, and by climbing.
    pub fn links(&self) -> [String; 2] {
        [
            self.dir.display().to_string(),
            format!("../../../../../../../../..{}", self.dir.display()),
        ]
    }

    pub fn is_silent(&self) -> Done {
        let names: Vec<_> = fs::read_dir(&self.dir)?
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        assert_eq!(
            names,
            ["host-canary"],
            "something was made in the host's directory"
        );
        assert_eq!(
            fs::read_to_string(self.dir.join("host-canary"))?,
            "untouched"
        );
        let points = leaks::mount_points()?;
        assert!(
            !points
                .iter()
                .any(|point| Path::new(point).starts_with(&self.dir)),
            "something was mounted on the host's directory"
        );
        Ok(())
    }
}

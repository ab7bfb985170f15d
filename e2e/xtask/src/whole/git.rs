//! What git knows: which commit this is, and what is not as in a commit.

use std::process::Command;

use anyhow::{Context as _, Result};
use catenoid_e2e::Artefacts;

use crate::run;

/// The checkout, asked by `git`.
pub(crate) struct Git<'a>(pub(crate) &'a Artefacts);

impl Git<'_> {
    fn command(&self, words: &[&str]) -> Command {
        let mut git = Command::new("git");
        git.args(words).current_dir(self.0.workspace());
        git
    }

    /// The commit that is checked out, by 12 digits.
    pub(crate) fn head(&self) -> Result<String> {
        Ok(run::output(&mut self.command(&["rev-parse", "--short=12", "HEAD"]))?.trim().to_owned())
    }

    /// The files that are not as in `commit`, those that git does not know yet included; nothing if there is no such commit
    /// in this clone. A file that was moved counts where it was and where it is.
    pub(crate) fn changed_since(&self, commit: &str) -> Result<Option<Vec<String>>> {
        let known = self.command(&["cat-file", "-e", &format!("{commit}^{{commit}}")]).output();
        if !known.context("failed to run `git cat-file`")?.status.success() {
            return Ok(None);
        }
        let mut paths = run::output(&mut self.command(&["diff", "--name-only", "--no-renames", "-z", commit, "--"]))?;
        paths += &run::output(&mut self.command(&["ls-files", "--others", "--exclude-standard", "-z"]))?;
        Ok(Some(paths.split_terminator('\0').map(str::to_owned).collect()))
    }

    /// The files that have lost lines since `commit`.
    pub(crate) fn shortened_since(&self, commit: &str) -> Result<Vec<String>> {
        let mut counted = self.command(&["diff", "--numstat", "--no-renames", "-z", commit, "--"]);
        Ok(shortened(&run::output(&mut counted)?))
    }
}

/// Those of `git diff --numstat -z`, in which a file that is no text has no count of lines.
fn shortened(counted: &str) -> Vec<String> {
    let files = counted.split_terminator('\0').filter_map(|file| {
        let (removed, path) = file.split_once('\t')?.1.split_once('\t')?;
        (removed != "0").then(|| path.to_owned())
    });
    files.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_that_lost_lines_or_is_no_text_is_found() {
        let counted = "3\t0\ta/added.rs\x003\t1\ta/changed.rs\x000\t7\ta/gone.rs\0-\t-\ta/vector.cose\0";
        assert_eq!(shortened(counted), ["a/changed.rs", "a/gone.rs", "a/vector.cose"]);
        assert_eq!(shortened(""), Vec::<String>::new());
    }
}

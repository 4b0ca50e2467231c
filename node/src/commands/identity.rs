//! `driftless identity`: the folder's key.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

use serde_json::json;

use super::CommandError;
use crate::args::IdentityArguments;
use crate::output::Output;
use crate::store::Folder;

/// Prints the key, or replaces it.
pub(super) fn run(options: &IdentityArguments, dir: &Path, output: Output) -> Result<(), CommandError> {
    let folder = Folder::create(dir)?;
    if options.new {
        return replace(&folder, options, output);
    }
    let key = match folder.identity()? {
        Some(signer) => signer.key(),
        None => {
            let _lock = folder.lock()?;
            folder.identity_or_new()?.key()
        }
    };
    output.result(&json!({ "event": "identity", "key": key }), || key.to_string());
    Ok(())
}

fn replace(folder: &Folder, options: &IdentityArguments, output: Output) -> Result<(), CommandError> {
    let _lock = folder.lock()?;
    let sessions = folder.sessions()?.len();
    if sessions > 0 && !options.force {
        return Err(CommandError::Failed(format!(
            "{} sessions in {} know the present key: seats and membership do not follow a new one. \
             Leave them first, or insist with --force",
            sessions,
            folder.path().display()
        )));
    }
    let path = folder.path().join("identity");
    let old = folder.identity()?;
    if old.is_some() && !options.yes && !confirmed(&path)? {
        return Err(CommandError::Failed("nothing was changed".into()));
    }
    if old.is_some() {
        std::fs::remove_file(&path).map_err(|source| CommandError::File { path: path.clone(), source })?;
    }
    let key = folder.identity_or_new()?.key();
    output.result(&json!({ "event": "identity", "key": key }), || key.to_string());
    Ok(())
}

fn confirmed(path: &Path) -> Result<bool, CommandError> {
    if !std::io::stdin().is_terminal() {
        return Err(CommandError::Usage("there is nobody to ask: confirm with --yes".into()));
    }
    let failed = |source| CommandError::File { path: path.to_owned(), source };
    let question = "The present key is lost for good. Replace it? [y/N] ";
    std::io::stderr().write_all(question.as_bytes()).map_err(failed)?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(failed)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

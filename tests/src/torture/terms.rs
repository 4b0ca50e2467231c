//! The session that faults are injected into: the demo's, without an end.

use std::path::{Path, PathBuf};

use driftless::terms::Overrides;
use driftless_protocol::manifest::{DeadlineBounds, Manifest};
use driftless_protocol::time::Span;

use crate::args::Arguments;
use crate::failure::Failure;
use crate::founding::Wanted;

/// So much of the demo's text is enough for some epochs and a quick evaluation.
const TEXT: usize = 40_000;

/// The session of `args`, with its text in `dir`.
pub fn wanted(args: &Arguments, dir: &Path) -> Result<Wanted, Failure> {
    let preset = Manifest::preset("gpt:tiny").map_err(Failure::setup)?;
    let overrides = Overrides {
        method: args.method,
        period: Some(args.period),
        batch: args.batch,
        strict: true,
        budget_tokens: args.budget.or((args.tokens > 0).then_some(args.tokens)),
        ..Overrides::default()
    };
    Ok(Wanted {
        seed: args.seed,
        name: "torture".into(),
        preset: overrides.apply(preset),
        text: text(args, dir)?,
        deadline: DeadlineBounds { minimum: Span::seconds(1), maximum: Span::seconds(15) },
        tcp: args.tcp,
    })
}

/// The text to train on.
fn text(args: &Arguments, dir: &Path) -> Result<PathBuf, Failure> {
    if let Some(path) = &args.data {
        return Ok(path.clone());
    }
    let path = dir.join("text.txt");
    std::fs::write(&path, &driftless_compute::TINY_SHAKESPEARE[..TEXT])
        .map_err(Failure::system(path.display().to_string()))?;
    Ok(path)
}

#[cfg(test)]
pub mod tests {
    use driftless_protocol::charter::Charter;
    use driftless_protocol::identity::Signer;

    use super::*;
    use crate::founding;

    /// A small session's constitution.
    pub fn charter() -> Charter {
        let folder = tempfile::tempdir().unwrap();
        let args: Arguments = clap::Parser::parse_from(["t", "--seed", "3"]);
        let wanted = wanted(&args, folder.path()).unwrap();
        let signers: Vec<Signer> = (0..4).map(|seed| Signer::from_seed([seed; 32])).collect();
        let founding = founding::manifest(&wanted, &signers).unwrap();
        Charter::new(founding.manifest.manifest().clone()).unwrap()
    }

    #[test]
    fn a_seed_is_a_session() {
        let (one, again) = (charter(), charter());
        assert_eq!(one.session, again.session);
        assert_eq!(one.genesis_state().digest(), one.manifest.genesis);
        assert_eq!((one.founding_seats().len(), one.quorum(4)), (4, 3));
    }
}

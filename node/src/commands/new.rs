//! `driftless new`: founds a session and trains in it.

use std::path::PathBuf;

use driftless_protocol::PeerKey;
use driftless_protocol::committee::{Committee, QuorumRule};
use driftless_protocol::identity::Signer;
use driftless_protocol::manifest::{Admission, DeadlineBounds, Manifest, ManifestError, Pacing};
use driftless_protocol::method::{Method, MethodName};
use driftless_protocol::model::Model;

use super::CommandError;
use super::foreground::Foreground;
use super::kept;
use super::new_from::{self, Source};
use super::plan;
use crate::args::{NewArguments, PacingName};
use crate::config::{self, Config};
use crate::node::SessionOptions;
use crate::output::Output;
use crate::report::{Line, Report, short};
use crate::settings::Settings;
use crate::step_size;
use crate::store::{Folder, SessionFolder};
use crate::terms::{self, Founding, Overrides, Terms};

/// Founds a session and runs it until it ends or is stopped.
pub(super) async fn run(options: &NewArguments, dir: PathBuf, output: Output) -> Result<(), CommandError> {
    // A founder that loses its seat wants it back.
    let founder = Settings { stand: Some(true), ..Settings::default() };
    let typed = config::typed(&options.network)?.or(founder);
    let config = config::resolve(dir, typed.clone())?;
    if options.print_manifest {
        let folder = Folder::create(&config.node.dir)?;
        let signer = folder.identity()?.unwrap_or(Signer::from_seed([0; 32]));
        let founding = founding(options, &folder, &signer, output)?;
        check_stability(options, founding.manifest.manifest(), output)?;
        let text = founding.manifest.manifest().to_toml().map_err(terms::TermsError::from)?;
        output.result(&serde_json::json!({ "manifest": text }), || text.clone());
        return Ok(());
    }
    let mut foreground = Foreground::start(&config, output).await?;
    let signer = foreground.node().signer().clone();
    let founding = founding(options, foreground.node().folder(), &signer, output)?;
    check_stability(options, founding.manifest.manifest(), output)?;
    check_name(foreground.node().folder(), founding.manifest.manifest())?;
    plan::check(founding.manifest.manifest(), options, &config, output)?;
    warn_of_bytes(founding.manifest.manifest(), output);
    let session = foreground.node().found(&founding.manifest, &founding.files)?;
    kept::keep(&foreground.node().folder().session(session), &typed, None)?;
    foreground.say_started();
    let name = founding.manifest.manifest().name.clone();
    let status = foreground.open(session, session_options(&config)).await?;
    let invitation = foreground.node().invitation(session, &status)?.to_text()?;
    let founded_on = new_from::parent_of(founding.manifest.manifest());
    let report = Report::Founded { name, invitation, founded_on };
    foreground.say(Line { session: Some(short(session)), ..Line::new(report) });
    foreground.warn_if_alone(&config);
    warn_of_seats(founding.manifest.manifest(), output);
    foreground.run(std::future::pending()).await
}

/// Numbers that make training diverge are refused, unless the founder insists.
fn check_stability(options: &NewArguments, manifest: &Manifest, output: Output) -> Result<(), CommandError> {
    match manifest.method.check_stability() {
        Err(unstable) if !options.force => {
            Err(CommandError::Usage(format!("{unstable}. --force founds the session all the same")))
        }
        Err(unstable) => {
            output.note(&format!("note: {unstable}"));
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// A name says which session is meant, so a folder has each once.
fn check_name(folder: &Folder, manifest: &Manifest) -> Result<(), CommandError> {
    let taken = |session: &SessionFolder| {
        session.manifest().is_ok_and(|other| other.manifest().name == manifest.name)
    };
    let Some(other) = folder.sessions()?.into_iter().find(taken) else { return Ok(()) };
    let what = match kept::has_left(&other) {
        true => "this peer left it, and its folder is still there",
        false => "`driftless run` resumes it",
    };
    Err(CommandError::Failed(format!(
        "there is a session called {} in {}: {what}; another one needs another name",
        manifest.name,
        folder.path().display()
    )))
}

/// A vocabulary beyond the bytes is a tokenizer's; without one most of it is dead weight.
fn warn_of_bytes(manifest: &Manifest, output: Output) {
    let Some(vocabulary) = manifest.model.vocabulary() else { return };
    if manifest.tokenizer.is_none() && vocabulary > 256 {
        output.note(&format!(
            "warning: without --tokenizer bytes are tokens: 256 of the model's {vocabulary} are ever used"
        ));
    }
}

/// How a session runs that needs no ticket and knows no peers yet.
pub(super) fn session_options(config: &Config) -> SessionOptions {
    SessionOptions {
        contribute: config.contribute,
        stand: config.stand,
        invited: None,
        ticket: None,
        keep_history: config.keep_history,
        checkpoint_every: 4,
        writes_per_day: config.writes_per_day,
        peers: Vec::new(),
        threads: config.threads,
        caps: config.caps,
    }
}

/// The manifest and the files by what was typed.
fn founding(
    options: &NewArguments,
    folder: &Folder,
    signer: &Signer,
    output: Output,
) -> Result<Founding, CommandError> {
    if let Some(path) = &options.manifest {
        return super::manifest_file::found(path, options, signer);
    }
    let imported = match options.from.as_deref().map(|from| new_from::source(from, folder)).transpose()? {
        Some(Source::Session(parent)) => return new_from::found(&parent, options, signer, output),
        Some(Source::Model(imported)) if options.model.is_none() => Some(imported),
        Some(Source::Model(_)) => {
            let reason = "the folder after --from says what is trained: leave --model out";
            return Err(CommandError::Usage(reason.into()));
        }
        None => None,
    };
    let preset = match &imported {
        Some(imported) => terms::preset_for(imported)?,
        None => Manifest::preset(options.model.as_deref().unwrap_or(Model::NAMES[0]))
            .map_err(|error| CommandError::Usage(error.to_string()))?,
    };
    let tokenizer = options.tokenizer.clone();
    let tokenizer = tokenizer.or_else(|| imported.as_ref().and_then(|imported| imported.tokenizer.clone()));
    let method = Some(options.method.unwrap_or(MethodName::DEFAULT));
    let mut preset = Overrides { method, ..overrides(options) }.apply(preset);
    if let (None, Method::Ef21(_)) = (options.gamma, &preset.method)
        && let Some(gamma) = step_size::of_data(&preset, &options.data).map_err(terms::TermsError::from)?
    {
        let known = Overrides { gamma: Some(gamma), ..Overrides::default() };
        preset = known.apply(preset);
        output.note(&format!("note: by the rows' smoothness EF21 descends with gamma {gamma:e}"));
    }
    let terms = Terms {
        name: options.name.clone(),
        preset,
        data: options.data.clone(),
        tokenizer,
        parameters: imported.map(|imported| imported.parameters),
        committee: committee(&options.committee, signer.key())?,
        admission: admission(options, signer),
        combine: options.combine.unwrap_or_default(),
        stop_at: options.stop_at,
        deadline: DeadlineBounds::default(),
        pacing: match options.pacing {
            PacingName::Uniform => Pacing::Uniform,
            PacingName::Decoupled => Pacing::DECOUPLED,
        },
    };
    Ok(terms::found(&terms, signer)?)
}

/// The numbers that were typed.
pub(super) fn overrides(options: &NewArguments) -> Overrides {
    Overrides {
        method: options.method,
        period: options.period,
        codec: options.codec,
        learning_rate: options.learning_rate,
        batch: options.batch,
        budget_tokens: options.tokens.or(options.stop_at),
        gamma: options.gamma,
        members: Some(options.peers),
        ..Overrides::default()
    }
}

/// By invitations of this key, unless anybody may join.
pub(super) fn admission(options: &NewArguments, signer: &Signer) -> Admission {
    match options.open {
        true => Admission::Open,
        false => Admission::Invitation { issuer: signer.key() },
    }
}

/// `steward`, `named:KEY,...` or `elected`.
pub(super) fn committee(text: &str, own: PeerKey) -> Result<Committee, CommandError> {
    match text.split_once(':') {
        None if text == "steward" => Ok(Committee::Steward { key: own }),
        None if text == "elected" => Ok(Committee::Elected { founder: own }),
        Some(("named", list)) => {
            let key = |text: &str| {
                PeerKey::from_hex(text.trim()).ok_or_else(|| {
                    CommandError::Usage(format!(
                        "--committee: {text:?} is no key; `driftless identity` prints one (64 hex digits)"
                    ))
                })
            };
            let mut keys = list.split(',').map(key).collect::<Result<Vec<_>, _>>()?;
            keys.sort_unstable();
            keys.dedup();
            let committee = Committee::Named { keys, quorum: QuorumRule::TwoThirds };
            committee.check().map_err(|error| CommandError::Usage(ManifestError::from(error).to_string()))?;
            Ok(committee)
        }
        _ => Err(CommandError::Usage(format!(
            "--committee is steward, named:KEY,KEY,... or elected, not {text:?}"
        ))),
    }
}

/// With fewer than 4 seats nobody may be missing.
pub(super) fn warn_of_seats(manifest: &Manifest, output: Output) {
    if let Committee::Elected { .. } = manifest.committee {
        output.note(
            "note: this peer decides alone until three others qualify for a seat: those who joined with \
             --stand, after 64 slots; until then nothing is decided while it is away",
        );
    }
    let seats = manifest.committee.founding_seats().len();
    if seats > 1 && manifest.committee.needs_every_seat() {
        output.note(&format!("note: all {seats} voters are needed: while one is away, nothing is decided"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committees_are_read_or_refused_in_words() {
        let own = Signer::from_seed([1; 32]).key();
        assert_eq!(committee("steward", own).unwrap(), Committee::Steward { key: own });
        assert_eq!(committee("elected", own).unwrap(), Committee::Elected { founder: own });
        let other = Signer::from_seed([2; 32]).key();
        let Committee::Named { keys, .. } = committee(&format!("named:{own},{other}"), own).unwrap() else {
            panic!("a named committee")
        };
        assert!(keys.len() == 2 && keys[0] < keys[1]);
        assert!(committee("named:abc", own).unwrap_err().to_string().contains("64 hex digits"));
        assert!(committee("chaos", own).is_err());
    }
}

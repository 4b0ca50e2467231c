//! From what a founder says to a manifest: presets, overrides, files and the genesis digest.

use std::path::{Path, PathBuf};

use driftless_compute::huggingface::{HuggingFaceError, Imported};
use driftless_compute::{Corpus, DataError, Tokenizer};
use driftless_protocol::charter::Charter;
use driftless_protocol::codec::Codec;
use driftless_protocol::committee::Committee;
use driftless_protocol::identity::Signer;
use driftless_protocol::layout::LayoutError;
use driftless_protocol::manifest::{
    Admission, Data, DataFile, DeadlineBounds, Manifest, ManifestError, Origin, Pacing, Preset,
    SignedManifest,
};
use driftless_protocol::method::{Clip, Combine, Method, MethodName};
use driftless_protocol::model::{GptShape, Model, ModelError};
use rand::TryRng;
use rand::rngs::SysRng;

use crate::engine::shape_of;
use crate::node::FoundingFiles;
use crate::parameters;

/// What a founder decides; everything else follows from the model's preset.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The session's name.
    pub name: String,
    /// Model, method, training.
    pub preset: Preset,
    /// The texts.
    pub data: Vec<PathBuf>,
    /// Their tokenizer; bytes if there is none.
    pub tokenizer: Option<PathBuf>,
    /// Parameters to start from, in the engine's order.
    pub parameters: Option<Vec<f32>>,
    /// Who votes.
    pub committee: Committee,
    /// Who may join.
    pub admission: Admission,
    /// What becomes of the updates of a slot.
    pub combine: Combine,
    /// Counted tokens at which the session ends.
    pub stop_at: Option<u64>,
    /// Bounds of slot deadlines.
    pub deadline: DeadlineBounds,
    /// For whom a slot waits.
    pub pacing: Pacing,
}

/// Overrides of a preset.
#[derive(Debug, Clone, Copy, Default)]
pub struct Overrides {
    /// The method.
    pub method: Option<MethodName>,
    /// H.
    pub period: Option<u32>,
    /// The codec.
    pub codec: Option<Codec>,
    /// Nobody trains on without the certificate that it waits for.
    pub strict: bool,
    /// The learning rate's peak.
    pub learning_rate: Option<f32>,
    /// Samples of a step.
    pub batch: Option<u32>,
    /// Tokens that the learning rate is planned for.
    pub budget_tokens: Option<u64>,
    /// EF21's step size.
    pub gamma: Option<f32>,
    /// Members that there has to be room for.
    pub members: Option<u32>,
}

/// A manifest, signed, with the files it names.
#[derive(Debug, Clone)]
pub struct Founding {
    /// The manifest.
    pub manifest: SignedManifest,
    /// What becomes blobs.
    pub files: FoundingFiles,
}

/// Why no session can be founded so.
#[derive(Debug, thiserror::Error)]
pub enum TermsError {
    /// No text was given.
    #[error("there is nothing to train on: give texts with --data FILE...")]
    NoData,
    /// A text or tokenizer.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The data are not what the model takes.
    #[error("{0}")]
    Mismatch(#[from] driftless_compute::Mismatch),
    /// The model to start from.
    #[error(transparent)]
    Import(#[from] HuggingFaceError),
    /// A model that does not exist, or is not possible.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The manifest is not valid.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The model's parameters do not fit its layout.
    #[error("the model's parameters do not fit: {0}")]
    Layout(#[from] LayoutError),
    /// A file's name cannot be passed on.
    #[error("{}: this file's name cannot be used in a manifest", .0.display())]
    FileName(PathBuf),
    /// A given file is not the one that the manifest file names.
    #[error("the manifest file's data section does not list the files given with --data")]
    OtherData,
    /// The operating system gave no randomness.
    #[error("no randomness: {0}")]
    Randomness(String),
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Overrides {
    /// The preset with these numbers.
    pub fn apply(&self, mut preset: Preset) -> Preset {
        if let Some(name) = self.method {
            preset = preset.with_method(name);
        }
        let method = &mut preset.method;
        self.period.into_iter().for_each(|steps| method.set_period(steps));
        self.codec.into_iter().for_each(|codec| method.set_codec(codec));
        if self.strict {
            method.set_strict();
        }
        if let Method::Ef21(method) = method {
            method.gamma = self.gamma.unwrap_or(method.gamma);
            let members = self.members.map_or(0, |members| u16::try_from(members).unwrap_or(u16::MAX));
            method.members = method.members.max(members);
        }
        let training = &mut preset.training;
        training.learning_rate = self.learning_rate.unwrap_or(training.learning_rate);
        if let (Method::OneByte(method), Some(rate)) = (&mut preset.method, self.learning_rate) {
            method.rate = rate;
        }
        training.batch = self.batch.unwrap_or(training.batch);
        training.budget_tokens = self.budget_tokens.unwrap_or(training.budget_tokens);
        preset
    }
}

/// The preset for an imported model: the numbers of the smallest named model at least as large.
pub fn preset_for(imported: &Imported) -> Result<Preset, TermsError> {
    let [layers, heads] =
        [imported.shape.layers, imported.shape.heads].map(|n| u16::try_from(n).unwrap_or(u16::MAX));
    let [width, context, vocabulary] =
        [imported.shape.width, imported.shape.context, imported.shape.vocabulary]
            .map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    let model = Model::Gpt(GptShape { layers, heads, width, context, vocabulary });
    model.check()?;
    let sizes = Model::NAMES.iter().map(|name| Ok((*name, Model::named(name)?.parameters())));
    let sizes = sizes.collect::<Result<Vec<_>, ModelError>>()?;
    let fitting = sizes.iter().find(|(_, size)| *size >= model.parameters()).or(sizes.last());
    let mut preset = Manifest::preset(fitting.map_or("gpt:tiny", |(name, _)| name))?;
    if let Method::StreamingDiLoCo(method) = &mut preset.method {
        method.fragments = layers.div_ceil(3);
    }
    Ok(Preset { model, ..preset })
}

/// 32 bytes of the operating system's randomness.
pub fn draw_seed() -> Result<[u8; 32], TermsError> {
    let mut seed = [0; 32];
    SysRng.try_fill_bytes(&mut seed).map_err(|error| TermsError::Randomness(error.to_string()))?;
    Ok(seed)
}

/// Writes a manifest by `terms` and signs it.
pub fn found(terms: &Terms, founder: &Signer) -> Result<Founding, TermsError> {
    let seed = draw_seed()?;
    let data = list_data(&terms.data, terms.tokenizer.as_deref(), &terms.preset.model, seed)?;
    let tokenizer = terms.tokenizer.as_deref().map(list_file).transpose()?;
    let manifest = Manifest {
        name: terms.name.clone(),
        tokenizer,
        seed,
        admission: terms.admission,
        stop_at: terms.stop_at,
        deadline: terms.deadline,
        clip: clip_for(&terms.committee).filter(|_| terms.preset.method.one_byte().is_none()),
        combine: terms.combine,
        pacing: terms.pacing,
        max_lag: terms.pacing.max_lag(),
        ..terms.preset.clone().manifest(terms.committee.clone(), data)
    };
    let files =
        FoundingFiles { data: terms.data.clone(), tokenizer: terms.tokenizer.clone(), pages: Vec::new() };
    complete(manifest, terms.parameters.as_deref(), files, founder)
}

/// Named members are trusted; one update among strangers' must not ruin the model.
pub(crate) fn clip_for(committee: &Committee) -> Option<Clip> {
    (!matches!(committee, Committee::Named { .. })).then_some(Clip { factor: 2.0 })
}

/// Fills in the genesis digest (and an imported model's pages) and signs.
pub fn complete(
    mut manifest: Manifest,
    imported: Option<&[f32]>,
    mut files: FoundingFiles,
    founder: &Signer,
) -> Result<Founding, TermsError> {
    let state = match imported {
        None => Charter::new(manifest.clone())?.genesis_state(),
        Some(parameters) => {
            let charter = Charter::new(manifest.clone())?;
            let state = charter.genesis_with(parameters::to_fragments(&charter, parameters)?);
            let arrays = state.arrays.first().into_iter().flatten();
            files.pages = arrays.flat_map(|array| array.pages().to_vec()).collect();
            manifest.origin = Origin::Imported(files.pages.iter().map(|page| page.hash()).collect());
            state
        }
    };
    manifest.genesis = state.digest();
    Ok(Founding { manifest: SignedManifest::seal(manifest, founder)?, files })
}

/// The data section for these texts or tables.
pub fn list_data(
    paths: &[PathBuf],
    tokenizer: Option<&Path>,
    model: &Model,
    seed: [u8; 32],
) -> Result<Data, TermsError> {
    if paths.is_empty() {
        return Err(TermsError::NoData);
    }
    let samples = match tokenizer {
        None => {
            let shape = shape_of(model);
            let data = driftless_compute::Data::open(paths, &shape, seed)?;
            data.check(&shape)?;
            data.samples()
        }
        Some(tokenizer) => {
            let cache = std::env::temp_dir().join(format!("driftless-tokens-{}", std::process::id()));
            let counted = count_tokenised(paths, tokenizer, &cache, model.context() as usize, seed);
            // Only a cache: the session makes its own.
            let _ = std::fs::remove_dir_all(&cache);
            counted?
        }
    };
    let files = paths.iter().map(|path| list_file(path)).collect::<Result<_, _>>()?;
    Ok(Data::Public { files, samples_per_epoch: samples })
}

fn count_tokenised(
    paths: &[PathBuf],
    tokenizer: &Path,
    cache: &Path,
    context: usize,
    seed: [u8; 32],
) -> Result<u64, TermsError> {
    std::fs::create_dir_all(cache).map_err(|source| TermsError::Read { path: cache.to_owned(), source })?;
    let tokenizer = Tokenizer::load(tokenizer)?;
    Ok(Corpus::tokenised(paths, &tokenizer, cache, context, seed)?.samples())
}

/// A file as a manifest lists it.
pub(crate) fn list_file(path: &Path) -> Result<DataFile, TermsError> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| TermsError::FileName(path.to_owned()))?;
    let failed = |source| TermsError::Read { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).map_err(failed)?;
    Ok(DataFile { name: name.to_owned(), length, root: hasher.finalize().into() })
}

/// The number of tokens that `slots` closed slots count, all streams together.
pub fn tokens_of_slots(preset: &Preset, peers: u64, slots: u64) -> u64 {
    let rounds = slots.div_ceil(u64::from(preset.method.streams()));
    let steps = rounds.saturating_mul(u64::from(preset.method.period()));
    let per_step = u64::from(preset.training.batch) * u64::from(preset.model.context());
    steps.saturating_mul(per_step).saturating_mul(peers).max(1)
}

/// The named model's shape as the engine has it; for benchmarks.
pub fn engine_shape(name: &str) -> Result<driftless_compute::Shape, ModelError> {
    Ok(shape_of(&Model::named(name)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(data: Vec<PathBuf>) -> Terms {
        let key = Signer::from_seed([1; 32]).key();
        Terms {
            pacing: Pacing::Uniform,
            name: "test".into(),
            preset: Manifest::preset("gpt:tiny").unwrap(),
            data,
            tokenizer: None,
            parameters: None,
            committee: Committee::Steward { key },
            admission: Admission::Invitation { issuer: key },
            combine: Combine::Mean,
            stop_at: None,
            deadline: DeadlineBounds::default(),
        }
    }

    #[test]
    fn a_founding_names_its_files_and_its_genesis() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text.txt");
        std::fs::write(&path, "some text ".repeat(500)).unwrap();
        let founding = found(&terms(vec![path]), &Signer::from_seed([1; 32])).unwrap();
        let manifest = founding.manifest.manifest();
        let Data::Public { files, samples_per_epoch } = &manifest.data else { panic!("public data") };
        assert_eq!((files[0].name.as_str(), files[0].length, *samples_per_epoch), ("text.txt", 5000, 69));
        let charter = Charter::new(manifest.clone()).unwrap();
        assert_eq!(charter.genesis_state().digest(), manifest.genesis);
    }

    #[test]
    fn an_imported_model_becomes_pages() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text.txt");
        std::fs::write(&path, "some text ".repeat(500)).unwrap();
        let count = Model::named("gpt:tiny").unwrap().parameters() as usize;
        let parameters: Vec<f32> = (0..count).map(|index| index as f32).collect();
        let terms = Terms { parameters: Some(parameters.clone()), ..terms(vec![path]) };
        let founding = found(&terms, &Signer::from_seed([1; 32])).unwrap();
        assert_eq!(founding.files.pages.len(), founding.manifest.manifest().origin.pages().len());
        let charter = Charter::new(founding.manifest.manifest().clone()).unwrap();
        let state = charter.genesis_with(parameters::to_fragments(&charter, &parameters).unwrap());
        assert_eq!(state.digest(), charter.manifest.genesis);
        assert_eq!(parameters::from_state(&charter, &state).unwrap(), parameters);
    }

    #[test]
    fn missing_empty_and_short_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text.txt");
        let error = |path: &Path| {
            found(&terms(vec![path.to_owned()]), &Signer::from_seed([1; 32])).unwrap_err().to_string()
        };
        assert!(error(&path).ends_with("text.txt: no such file"), "{}", error(&path));
        std::fs::write(&path, "").unwrap();
        assert!(error(&path).ends_with("text.txt: the file is empty"));
        std::fs::write(&path, "short").unwrap();
        assert!(error(&path).contains("text.txt: too short"));
        assert!(matches!(found(&terms(Vec::new()), &Signer::from_seed([1; 32])), Err(TermsError::NoData)));
    }

    #[test]
    fn slots_are_counted_over_all_streams() {
        let preset = Manifest::preset("gpt:small").unwrap();
        // 40 slots of 2 streams: 20 rounds of 30 steps of 8 x 256 tokens by 4 peers.
        assert_eq!(tokens_of_slots(&preset, 4, 40), 20 * 30 * 8 * 256 * 4);
    }
}

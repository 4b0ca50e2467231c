//! `new --manifest FILE.toml`: what the file leaves out is filled in.

use std::io::Read;
use std::path::Path;

use driftless_protocol::identity::Signer;
use driftless_protocol::manifest::{Data, Manifest, ManifestError, Origin, SignedManifest};
use driftless_protocol::model::Model;
use toml::{Table, Value};

use super::CommandError;
use crate::args::NewArguments;
use crate::node::FoundingFiles;
use crate::terms::{self, Founding, TermsError};

/// Founds by a manifest file. `name`, `seed`, `data`, `committee` and `admission` may be missing.
pub(super) fn found(path: &Path, options: &NewArguments, signer: &Signer) -> Result<Founding, CommandError> {
    let failed = |source| CommandError::File { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(Manifest::MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    let wrong =
        |reason: &dyn std::fmt::Display| CommandError::Failed(format!("{}: {reason}", path.display()));
    if bytes.starts_with(b"DLMF") {
        return Err(wrong(&"this is a signed manifest; `new` takes the TOML text that it was made from"));
    }
    let text = String::from_utf8(bytes).map_err(|error| wrong(&error.utf8_error()))?;
    let mut table: Table = toml::from_str(&text).map_err(|error| wrong(&error.to_string().trim()))?;
    let whole = ["name", "seed", "data", "committee", "admission"].iter().all(|key| table.contains_key(*key));
    let manifest = if whole {
        Manifest::from_toml(&text).map_err(|error| wrong(&error))?
    } else {
        complete(&mut table, options, signer)?;
        let text = toml::to_string(&table).map_err(|error| wrong(&error))?;
        // The line is that of the completed text, which nobody sees.
        Manifest::from_toml(&text).map_err(|error| wrong(&without_line(&error)))?
    };
    check_data(&manifest, options)?;
    let files =
        FoundingFiles { data: options.data.clone(), tokenizer: options.tokenizer.clone(), pages: Vec::new() };
    if manifest.origin != Origin::Seed {
        return Err(wrong(
            &"a manifest file cannot name an imported model or another session; use `new --from`",
        ));
    }
    if manifest.genesis != Default::default() {
        return SignedManifest::seal(manifest, signer)
            .map(|manifest| Founding { manifest, files })
            .map_err(|error| wrong(&error));
    }
    terms::complete(manifest, None, files, signer).map_err(|error| wrong(&error))
}

fn complete(table: &mut Table, options: &NewArguments, signer: &Signer) -> Result<(), CommandError> {
    let key = Value::String(signer.key().to_string());
    let one = |name: &str, value: Value| Value::Table(Table::from_iter([(name.to_owned(), value)]));
    table.entry("name").or_insert_with(|| Value::String(options.name.clone()));
    table.entry("committee").or_insert_with(|| one("steward", one("key", key.clone())));
    table.entry("admission").or_insert_with(|| one("invitation", one("issuer", key)));
    let seed = match table.get("seed").and_then(Value::as_str).map(driftless_protocol::Hash::from_hex) {
        Some(Some(seed)) => seed.0,
        // Text that is no seed is explained where the manifest is read.
        Some(None) => [0; 32],
        None => {
            let seed = terms::draw_seed()?;
            table.insert("seed".into(), Value::String(driftless_protocol::Hash(seed).to_string()));
            seed
        }
    };
    if !table.contains_key("data") {
        // One that is none is explained where the manifest is read.
        let model = table.get("model").and_then(|model| model.clone().try_into::<Model>().ok());
        let model = model.map_or_else(|| Model::named(Model::NAMES[0]).map_err(TermsError::from), Ok)?;
        let data = terms::list_data(&options.data, options.tokenizer.as_deref(), &model, seed)?;
        let data = Value::try_from(&data).map_err(|error| CommandError::Failed(error.to_string()))?;
        table.insert("data".into(), data);
    }
    Ok(())
}

/// The files given are those of the manifest, in its order.
fn check_data(manifest: &Manifest, options: &NewArguments) -> Result<(), CommandError> {
    let Data::Public { files, .. } = &manifest.data else { return Ok(()) };
    if options.data.is_empty() {
        return Err(TermsError::NoData.into());
    }
    let (tokenizer, model) = (options.tokenizer.as_deref(), &manifest.model);
    let given = terms::list_data(&options.data, tokenizer, model, manifest.seed)?;
    let Data::Public { files: given, .. } = &given else { return Ok(()) };
    let same = files.len() == given.len() && files.iter().zip(given).all(|(a, b)| a.root == b.root);
    if same { Ok(()) } else { Err(TermsError::OtherData.into()) }
}

fn without_line(error: &ManifestError) -> String {
    let text = error.to_string();
    match text.split_once("line ").and_then(|(before, rest)| Some((before, rest.split_once(": ")?.1))) {
        Some((before, rest)) => format!("{before}{rest}"),
        None => text,
    }
}

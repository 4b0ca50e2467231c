//! `driftless sample`: text from the newest outer parameters.

use std::io::Write;
use std::path::Path;

use driftless_compute::Tokenizer;
use driftless_compute::sample::{Sampling, generate};
use serde_json::json;

use super::CommandError;
use super::eval::{engine_of, load, no_text};
use crate::args::SampleArguments;
use crate::engine::shape_of;
use crate::offline::Offline;
use crate::output::Output;

/// Writes text.
pub(super) fn run(options: &SampleArguments, dir: &Path, output: Output) -> Result<(), CommandError> {
    let offline = load(dir, options.state.session.as_deref(), output)?;
    let shape = shape_of(&offline.charter.manifest.model);
    if shape.gpt().is_none() {
        return Err(no_text(&shape, "sampled: it writes no text"));
    }
    let sampling = Sampling {
        temperature: options.temperature,
        top_k: Some(options.top_k).filter(|kept| *kept > 0),
        seed: options.seed,
    };
    let live = !output.is_json();
    let text = write(&offline, &options.prompt, options.length, &sampling, options.threads, |piece| {
        if live {
            // Whoever reads may be gone.
            let _ = std::io::stdout().write_all(piece.as_bytes()).and_then(|()| std::io::stdout().flush());
        }
    })?;
    output.text("");
    let height = offline.state.control.height;
    output.object(&json!({ "event": "sample", "prompt": options.prompt, "text": text, "height": height }));
    Ok(())
}

/// The text after `prompt`, all at once.
pub(crate) fn write_text(
    offline: &Offline,
    prompt: &str,
    length: usize,
    sampling: &Sampling,
) -> Result<String, CommandError> {
    write(offline, prompt, length, sampling, None, |_| {})
}

/// The text after `prompt`; `each` is told every piece of it as it comes, the prompt first.
fn write(
    offline: &Offline,
    prompt: &str,
    length: usize,
    sampling: &Sampling,
    threads: Option<usize>,
    mut each: impl FnMut(&str),
) -> Result<String, CommandError> {
    let tokenizer = offline.tokenizer().map(|path| Tokenizer::load(&path)).transpose()?;
    let tokens: Vec<u32> = match &tokenizer {
        None => prompt.bytes().map(u32::from).collect(),
        Some(tokenizer) => tokenizer.encode(prompt)?,
    };
    let mut engine = engine_of(offline, threads, 1)?;
    let mut pieces = Pieces { tokenizer: tokenizer.as_ref(), tokens: Vec::new(), told: 0 };
    each(prompt);
    let written = generate(&mut engine, &tokens, length, sampling, |token| {
        if let Some(piece) = pieces.push(token) {
            each(&piece);
        }
    });
    let written = written.map_err(|error| CommandError::Failed(error.to_string()))?;
    Ok(text_of(tokenizer.as_ref(), &written))
}

fn text_of(tokenizer: Option<&Tokenizer>, tokens: &[u32]) -> String {
    match tokenizer {
        // A token that no byte stands for is not text.
        None => {
            let bytes: Vec<u8> = tokens.iter().map(|token| u8::try_from(*token).unwrap_or(b'?')).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        }
        Some(tokenizer) => tokenizer.decode(tokens).unwrap_or_default(),
    }
}

/// Tokens as text that appears whole characters at a time.
struct Pieces<'a> {
    tokenizer: Option<&'a Tokenizer>,
    tokens: Vec<u32>,
    told: usize,
}

impl Pieces<'_> {
    fn push(&mut self, token: u32) -> Option<String> {
        self.tokens.push(token);
        let text = text_of(self.tokenizer, &self.tokens);
        // A character that is not whole yet, or bytes that are none: wait a little.
        if text.ends_with('\u{fffd}') && self.tokens.len() < 4 {
            return None;
        }
        let piece = text.get(self.told..).map(str::to_owned);
        match self.tokenizer {
            // Bytes stand for themselves.
            None => self.tokens.clear(),
            // A tokenizer may join what follows; keep the beginning.
            Some(_) => self.told = text.len(),
        }
        piece
    }
}

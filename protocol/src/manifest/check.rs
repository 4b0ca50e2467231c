//! The bounds of every field of a manifest.

use std::collections::BTreeSet;

use super::{Data, DataFile, Manifest, ManifestError, Optimizer, Origin, Pacing, Parent, RULES, Training};
use crate::committee::Committee;
use crate::method::{Combine, StreamingDiLoCo};
use crate::state::page_count;
use crate::time::Span;
use crate::wire::limits;

/// The largest count anywhere: TOML has signed integers, and sums of a few must not overflow.
const MAX_COUNT: u64 = 1 << 60;
/// Roots of so many pages are 8 MiB: a list of them can be told.
const MAX_PAGES: u64 = 1 << 18;
const DAY: Span = Span::seconds(86_400);

impl Manifest {
    /// Refuses a manifest that no session can run with.
    pub fn check(&self) -> Result<(), ManifestError> {
        let name = self.name.trim() == self.name && is_printable(&self.name, 64);
        need(name, "name", format!("{:?}", head(&self.name)), "1 to 64 printable bytes")?;
        need(self.rules == RULES, "rules", self.rules, "4: this release speaks no other")?;
        self.check_model_and_method()?;
        self.committee.check()?;
        check_training(&self.training)?;
        check_pacing(self.pacing)?;
        self.tokenizer.iter().try_for_each(check_file)?;
        check_data(&self.data)?;
        let leased = 2 * u64::from(self.largest_steps()) * u64::from(self.training.batch);
        let found = format!("{leased} samples in two slots");
        need(leased <= u64::from(u32::MAX), "training.batch times steps", found, "at most 4294967295")?;
        let stop_at = self.stop_at.unwrap_or(1);
        need((1..=MAX_COUNT).contains(&stop_at), "stop_at", stop_at, "1 to 2^60 tokens")?;
        let deadline = Span::millis(1) <= self.deadline.minimum
            && self.deadline.minimum <= self.deadline.maximum
            && self.deadline.maximum <= DAY;
        let found = format!("{:?}", self.deadline);
        need(deadline, "deadline", found, "1ms <= minimum <= maximum <= 24h")?;
        let heartbeat = (Span::millis(10)..=DAY).contains(&self.heartbeat);
        need(heartbeat, "heartbeat", format!("{:?}", self.heartbeat), "10ms to 24h")?;
        need((1..=64).contains(&self.max_lag), "max_lag", self.max_lag, "1 to 64")?;
        // A lease of a slot that is trained for while the one before is decided lives until both are.
        let lives = self.max_lag > self.method.window();
        need(
            self.method.window() == 1 || lives,
            "max_lag",
            self.max_lag,
            "at least 3 where two slots are open at a time",
        )?;
        let drawn = (1..=limits::COUNTED).contains(&usize::from(self.max_contributors));
        need(drawn, "max_contributors", self.max_contributors, "1 to 256")?;
        if let Some(method) = self.method.one_byte() {
            let most = method.most_contributors();
            let listed = self.max_contributors <= most;
            let found = format!("{}, with {} samples a step each", self.max_contributors, method.samples);
            need(listed, "max_contributors", found, "64 at most, and 512 samples a step of all together")?;
            let uniform = self.pacing == Pacing::Uniform;
            need(uniform, "pacing", "another", "uniform: all take the same steps together")?;
            let mean = self.combine == Combine::Mean;
            need(mean, "combine", self.combine, "mean: a step is the sum of its samples")?;
            let plain = self.clip.is_none();
            need(plain, "clip", "given", "left out: bytes are clipped to three medians of their step")?;
        }
        let snapshots = (1..=1 << 20).contains(&self.snapshot_every);
        need(snapshots, "snapshot_every", self.snapshot_every, "1 to 1048576")?;
        let factor = self.clip.map_or(1.0, |clip| clip.factor);
        need(within(0.01, 1000.0, factor), "clip.factor", factor, "0.01 to 1000")?;
        self.check_combine()?;
        let link = (1..=1 << 40).contains(&self.slowest_link);
        need(link, "slowest_link", self.slowest_link, "1 to 2^40 bytes per second")
    }

    fn check_model_and_method(&self) -> Result<(), ManifestError> {
        self.model.check()?;
        self.method.check()?;
        let fragments = self.method.fragments();
        let blocks = fragments <= self.model.layers();
        need(blocks, "method.fragments", fragments, "at most the model's layers")?;
        match self.model.vocabulary() {
            Some(vocabulary) => {
                let bytes = self.tokenizer.is_some() || vocabulary >= 256;
                need(bytes, "model.vocabulary", vocabulary, "at least 256 without a tokenizer")?;
            }
            None => {
                let none = self.tokenizer.is_none();
                need(none, "tokenizer", "given", "left out: the model is of tables, not of texts")?;
            }
        }
        need(within(1e-6, 1.0, self.init_scale), "init_scale", self.init_scale, "0.000001 to 1")?;
        self.check_origin()?;
        let largest = self.layout().fragments.iter().map(|fragment| fragment.len).max().unwrap_or(0);
        let values = usize::try_from(largest).unwrap_or(usize::MAX);
        let blob = self.method.blob_bytes(values);
        need(blob <= limits::BLOB, "a fragment's blob", blob, "at most 2^40 bytes: use more fragments")?;
        self.check_estimates()
    }

    /// What is known of the members' gradients has to fit into a list of pages that others are told of.
    fn check_estimates(&self) -> Result<(), ManifestError> {
        let Some(members) = self.method.estimates() else { return Ok(()) };
        let seats = self.committee.founding_seats().len();
        need(seats <= usize::from(members), "method.members", members, "at least the founding seats")?;
        let mean = self.combine == Combine::Mean;
        need(mean, "combine", self.combine, "mean with ef21: its proof is of the mean")?;
        let pages = page_count(1 + usize::from(members), std::iter::once(self.model.parameters()));
        let parameters = self.model.parameters();
        let found = format!("{members}, which with {parameters} parameters are {pages} pages");
        need(
            pages <= MAX_PAGES,
            "method.members",
            found,
            "so few that all pages are at most 262144 (256 GiB)",
        )
    }

    /// Where anybody may join, whoever has many keys has many votes in a median.
    fn check_combine(&self) -> Result<(), ManifestError> {
        if matches!(self.combine, Combine::Mean | Combine::RadialDirectional) {
            return Ok(());
        }
        let found = self.combine;
        need(found.is_possible(), "combine", found, "one that trims at most 0.49 at either end")?;
        let named = matches!(self.committee, Committee::Named { .. });
        need(named, "combine", found, "mean where the members are not named")?;
        let dense = self.method.codec().is_some_and(|codec| codec.is_dense());
        need(dense, "combine", found, "mean where contributions leave values out: most medians would be 0")?;
        let kept = self.method.feedback().is_some();
        need(!kept, "combine", found, "mean with error feedback: nobody knows what of an update was taken")
    }

    fn check_origin(&self) -> Result<(), ManifestError> {
        let pages = self.origin.pages().len();
        match &self.origin {
            Origin::Seed => Ok(()),
            Origin::Imported(_) => {
                need((1..=8000).contains(&pages), "origin.imported", pages, "1 to 8000 page roots")
            }
            Origin::Session(parent) => {
                let lengths = self.layout().fragments.into_iter().map(|fragment| fragment.len);
                let expected = page_count(self.method.arrays(), lengths);
                let found = format!("a list of {pages} roots");
                let all = "that of all the model's pages, at most 8000";
                // Of estimates, whose number is the parent's, only the digest is needed.
                let whole = match self.method.estimates() {
                    None => expected == pages as u64,
                    Some(_) => expected <= pages as u64 && (pages as u64).is_multiple_of(expected),
                };
                need(whole && pages <= 8000, "origin.session.pages", found, all)?;
                check_parent(parent, self.stop_at)
            }
        }
    }
}

fn check_parent(parent: &Parent, stop_at: Option<u64>) -> Result<(), ManifestError> {
    need(parent.height > 0, "origin.session.height", parent.height, "that of a certified block")?;
    let parts = "the hash of its control page and its pages";
    need(parent.adds_up(), "origin.session.digest", parent.digest, parts)?;
    let position = parent.position <= MAX_COUNT;
    need(position, "origin.session.position", parent.position, "at most 2^60")?;
    need(parent.tokens <= MAX_COUNT, "origin.session.tokens", parent.tokens, "at most 2^60")?;
    let goes_on = stop_at.is_none_or(|stop_at| stop_at > parent.tokens);
    let beyond = "more than the tokens of the session that it was founded on";
    need(goes_on, "stop_at", stop_at.unwrap_or_default(), beyond)
}

fn check_training(training: &Training) -> Result<(), ManifestError> {
    let Training { batch, optimizer, learning_rate, warmup, final_share, weight_decay, clip, budget_tokens } =
        training;
    need((1..=1 << 20).contains(batch), "training.batch", batch, "1 to 1048576")?;
    let rate = within(0.0, 10.0, *learning_rate) && *learning_rate > 0.0;
    need(rate, "training.learning_rate", learning_rate, "above 0 and at most 10")?;
    if let Optimizer::Muon { learning_rate } = optimizer {
        let rate = within(0.0, 10.0, *learning_rate) && *learning_rate > 0.0;
        need(rate, "training.optimizer.muon.learning_rate", learning_rate, "above 0 and at most 10")?;
    }
    need(within(0.0, 1.0, *warmup), "training.warmup", warmup, "0 to 1")?;
    need(within(0.0, 1.0, *final_share), "training.final_share", final_share, "0 to 1")?;
    need(within(0.0, 10.0, *weight_decay), "training.weight_decay", weight_decay, "0 to 10")?;
    let positive = within(0.0, 1e6, *clip) && *clip > 0.0;
    need(positive, "training.clip", clip, "above 0 and at most 1000000")?;
    let budget = (1..=MAX_COUNT).contains(budget_tokens);
    need(budget, "training.budget_tokens", budget_tokens, "1 to 2^60")
}

fn check_pacing(pacing: Pacing) -> Result<(), ManifestError> {
    let (slot_time, minimum, maximum) = match pacing {
        Pacing::Uniform => return Ok(()),
        Pacing::Decoupled { quorum_percent: percent } => {
            return need((1..=100).contains(&percent), "pacing.quorum_percent", percent, "1 to 100");
        }
        Pacing::Proportional { slot_time, minimum, maximum } => (slot_time, minimum, maximum),
    };
    let time = (Span::millis(1)..=DAY).contains(&slot_time);
    need(time, "pacing.slot_time", format!("{slot_time:?}"), "1ms to 24h")?;
    let steps = 1 <= minimum && minimum <= maximum && maximum <= StreamingDiLoCo::MAX_STEPS;
    let found = format!("{minimum} to {maximum} steps");
    need(steps, "pacing", found, "1 <= minimum <= maximum <= 1048576")
}

fn check_data(data: &Data) -> Result<(), ManifestError> {
    match data {
        Data::Private { max_tokens_per_slot: tokens } => {
            let holds = (1..=MAX_COUNT).contains(tokens);
            need(holds, "data.private.max_tokens_per_slot", tokens, "1 to 2^60")
        }
        Data::Public { files, samples_per_epoch: samples } => {
            need((1..=1 << 48).contains(samples), "data.public.samples_per_epoch", samples, "1 to 2^48")?;
            need((1..=512).contains(&files.len()), "data.public.files", files.len(), "1 to 512 files")?;
            files.iter().try_for_each(check_file)?;
            let names: BTreeSet<&str> = files.iter().map(|file| file.name.as_str()).collect();
            let found = "a list that names a file twice";
            need(names.len() == files.len(), "data.public.files", found, "a list with each name once")
        }
    }
}

fn check_file(file: &DataFile) -> Result<(), ManifestError> {
    // The name becomes a file's name in a joiner's folder.
    let name =
        is_printable(&file.name, 255) && !file.name.contains(['/', '\\', ':']) && !file.name.starts_with('.');
    let found = format!("{:?}", head(&file.name));
    need(name, "data.public.files.name", found, "a plain file name of 1 to 255 bytes")?;
    let length = (1..=limits::BLOB).contains(&file.length);
    need(length, "data.public.files.length", file.length, "1 to 2^40 bytes")
}

fn need(
    holds: bool,
    field: &'static str,
    found: impl ToString,
    allowed: &'static str,
) -> Result<(), ManifestError> {
    if holds { Ok(()) } else { Err(ManifestError::Field { field, found: found.to_string(), allowed }) }
}

/// NaN is within nothing.
fn within(low: f32, high: f32, value: f32) -> bool {
    low <= value && value <= high
}

fn is_printable(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// The beginning of a text that may be long.
fn head(text: &str) -> String {
    text.chars().take(80).collect()
}

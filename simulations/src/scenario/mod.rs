//! Scenarios: worlds written down as TOML. `docs/scenarios.md` is their reference.

mod cost;
mod faults;
mod peers;

use std::path::Path;

use driftless_protocol::committee::{Committee, QuorumRule};
use driftless_protocol::manifest::{Manifest, text};
use driftless_protocol::time::{Span, Time};
use serde::Deserialize;

use crate::engine::EngineKind;
use crate::network::Link;
use crate::peer::SetupError;
use crate::random::Random;
use crate::search::Wish;
use crate::setup::{DETECTION, Setup};
use crate::topology::CROWD;
use crate::world::World;

use cost::CostForm;
use faults::FaultForm;
use peers::PeersForm;

/// The most peers that a scenario may have.
const MAX_PEERS: usize = 10_000;
/// The longest virtual time, and the longest span of anything in it.
const MAX_LIMIT: Span = Span::seconds(8760 * 3600);

/// A world as a person writes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Scenario {
    /// For people, in a few words.
    pub name: String,
    /// For people: what it is about.
    #[serde(default)]
    pub about: String,
    /// Decides everything that chance decides.
    #[serde(default = "one")]
    pub seed: u64,
    /// What the product's engine trains on the embedded text; a stand-in model if not given.
    #[serde(default)]
    pub model: Option<String>,
    /// What the peers train, if it is too large for a simulation.
    #[serde(default)]
    cost_model: Option<CostForm>,
    /// Tokens at which the session ends.
    pub tokens: u64,
    /// How many seats decide.
    #[serde(default)]
    quorum: QuorumForm,
    /// How voters are chosen.
    #[serde(default)]
    committee: CommitteeForm,
    /// Virtual time after which the world is given up.
    #[serde(with = "text::span", default = "four_hours")]
    pub limit: Span,
    /// Fields of the manifest that differ from the model's defaults.
    #[serde(default)]
    session: toml::Table,
    #[serde(default)]
    network: NetworkForm,
    peers: Vec<PeersForm>,
    #[serde(default)]
    faults: Vec<FaultForm>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum QuorumForm {
    #[default]
    TwoThirds,
    Majority,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum CommitteeForm {
    /// The peers that the scenario calls voters.
    #[default]
    Named,
    /// The only voter founds the session, and candidates are elected.
    Elected,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct NetworkForm {
    #[serde(with = "text::span", default = "one_millisecond")]
    latency: Span,
    #[serde(with = "text::span", default)]
    jitter: Span,
    /// Share of messages.
    #[serde(default)]
    loss: f64,
    /// Share of messages that arrive twice.
    #[serde(default)]
    duplicated: f64,
    /// Until peers notice that nothing comes from another any more.
    #[serde(with = "text::span", default = "detection")]
    detection: Span,
    /// Links between regions that differ.
    #[serde(default)]
    between: Vec<BetweenForm>,
}

impl Default for NetworkForm {
    fn default() -> NetworkForm {
        NetworkForm {
            latency: one_millisecond(),
            jitter: Span::ZERO,
            loss: 0.0,
            duplicated: 0.0,
            detection: DETECTION,
            between: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct BetweenForm {
    regions: [String; 2],
    #[serde(with = "text::span")]
    latency: Span,
    #[serde(with = "text::span", default)]
    jitter: Span,
}

/// A span where one may be missing.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(transparent)]
struct Duration(#[serde(with = "text::span")] Span);

fn one() -> u64 {
    1
}

fn four_hours() -> Span {
    Span::seconds(4 * 3600)
}

fn detection() -> Span {
    DETECTION
}

fn one_millisecond() -> Span {
    Span::millis(1)
}

/// Why a scenario is no world.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("{path}: {reason}")]
    File {
        /// Which.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// It is no TOML, or has an unknown or wrong field.
    #[error("{0}")]
    Toml(String),
    /// A field has a value that makes no sense.
    #[error("{field}: {reason}")]
    Value {
        /// Which.
        field: String,
        /// What is wrong.
        reason: String,
    },
}

fn wrong(field: &str, reason: impl Into<String>) -> ScenarioError {
    ScenarioError::Value { field: field.into(), reason: reason.into() }
}

/// A world that can start, and what its users will wish.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Peers, terms, links and faults.
    pub setup: Setup,
    /// What users wish.
    pub wishes: Vec<Wish>,
    /// Where each peer is.
    pub regions: Vec<String>,
}

impl Plan {
    /// The world at its start, with what its users will wish.
    ///
    /// # Errors
    /// Terms that no session can have.
    pub fn world(&self) -> Result<World, SetupError> {
        let mut world = World::new(self.setup.clone())?;
        for wish in &self.wishes {
            world.command(wish.at, wish.peer, wish.command);
        }
        Ok(world)
    }
}

impl Scenario {
    /// The text of a scenario's file.
    ///
    /// # Errors
    /// What the system says.
    pub fn text(path: &Path) -> Result<String, ScenarioError> {
        let failed = |error: std::io::Error| ScenarioError::File {
            path: path.display().to_string(),
            reason: error.to_string(),
        };
        std::fs::read_to_string(path).map_err(failed)
    }

    /// A text with another value for the field at a path such as `peers.0.step`.
    ///
    /// # Errors
    /// No TOML, or a path that leads nowhere.
    pub fn vary(text: &str, path: &str, value: &str) -> Result<String, ScenarioError> {
        let table: toml::Table =
            toml::from_str(text).map_err(|error| ScenarioError::Toml(text::explain(text, &error)))?;
        let mut root = toml::Value::Table(table);
        let mut place = &mut root;
        for name in path.split('.') {
            let next = match place {
                toml::Value::Table(table) => {
                    Some(table.entry(name).or_insert_with(|| toml::Value::Table(toml::Table::new())))
                }
                toml::Value::Array(array) => name.parse().ok().and_then(|at: usize| array.get_mut(at)),
                _ => None,
            };
            place = next.ok_or_else(|| wrong(path, "there is no such field"))?;
        }
        // Numbers and switches as they are, everything else is text.
        let parsed = toml::from_str::<toml::Table>(&format!("value = {value}"));
        *place = parsed
            .ok()
            .and_then(|mut table| table.remove("value"))
            .unwrap_or_else(|| toml::Value::String(value.to_owned()));
        toml::to_string(&root).map_err(|error| ScenarioError::Toml(error.to_string()))
    }

    /// Reads a text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Scenario, ScenarioError> {
        toml::from_str(text).map_err(|error| ScenarioError::Toml(text::explain(text, &error)))
    }

    /// Makes the world.
    ///
    /// # Errors
    /// Values that make no sense, or terms that no session can have.
    pub fn plan(&self) -> Result<Plan, ScenarioError> {
        let count = self.peers.iter().fold(0, |sum: usize, group| sum.saturating_add(group.count));
        if !(1..=MAX_PEERS).contains(&count) {
            return Err(wrong("peers", format!("1 to {MAX_PEERS} in all, not {count}")));
        }
        if self.limit > MAX_LIMIT {
            return Err(wrong("limit", "at most a year (8760h)"));
        }
        let engine = self.engine()?;
        let mut setup = self.terms()?;
        let mut regions = Vec::new();
        setup.peers.clear();
        for (index, group) in self.peers.iter().enumerate() {
            let mut random = Random::new(self.seed, &format!("group {index}"));
            let mut peers = group.peers(&mut random, &engine, index)?;
            group.clocks(&mut Random::new(self.seed, &format!("clocks {index}")), &mut peers);
            setup.peers.extend(peers);
            regions.extend(std::iter::repeat_n(group.region.clone(), group.count));
        }
        match setup.peers.iter().filter(|peer| peer.seat).count() {
            0 => return Err(wrong("peers", "somebody has to vote: give a group role = \"voter\"")),
            2.. if self.committee == CommitteeForm::Elected => {
                let reason = "an elected committee begins with one voter; the others are candidates";
                return Err(wrong("committee", reason));
            }
            _ if self.committee == CommitteeForm::Elected && count > CROWD => {
                let reason = format!(
                    "of more than {CROWD} peers not all know each other, and who will be elected is not known \
                     when they meet: name the voters"
                );
                return Err(wrong("committee", reason));
            }
            _ => {}
        }
        self.links(&mut setup, &regions)?;
        let mut wishes = Vec::new();
        let mut first = 0;
        for (index, group) in self.peers.iter().enumerate() {
            let mut random = Random::new(self.seed, &format!("churn {index}"));
            let peers = first..first + group.count;
            let mut spells = Random::new(self.seed, &format!("spells {index}"));
            group.spells(&mut spells, peers.clone(), self.limit, &mut setup.faults);
            group.churn(&mut random, peers, self.limit, &mut setup.faults, &mut wishes);
            first += group.count;
        }
        for (index, fault) in self.faults.iter().enumerate() {
            let mut random = Random::new(self.seed, &format!("fault {index}"));
            fault.happen(&mut random, &regions, &mut setup.faults, &mut wishes)?;
        }
        setup.faults.sort_by_key(|(at, _)| *at);
        Ok(Plan { setup, wishes, regions })
    }

    /// What trains.
    fn engine(&self) -> Result<EngineKind, ScenarioError> {
        match &self.cost_model {
            Some(_) if self.model.is_some() => {
                Err(wrong("cost-model", "either `model` is trained or `cost-model` is counted with"))
            }
            Some(cost) => Ok(EngineKind::Cost(cost.model()?)),
            None => Ok(Setup::engine(self.model.is_some())),
        }
    }

    /// The model's defaults with the fields that the scenario names.
    fn terms(&self) -> Result<Setup, ScenarioError> {
        let mut setup = match &self.model {
            Some(model) => {
                Setup::real(self.seed, 1, model, self.tokens).map_err(|error| wrong("model", error))?
            }
            None => Setup::small(self.seed, 1),
        };
        setup.elected = self.committee == CommitteeForm::Elected;
        setup.quorum = match self.quorum {
            QuorumForm::TwoThirds => QuorumRule::TwoThirds,
            QuorumForm::Majority => QuorumRule::Majority,
        };
        setup.manifest.stop_at = Some(self.tokens);
        setup.manifest.training.budget_tokens = self.tokens;
        if self.session.contains_key("committee") {
            return Err(wrong("session.committee", "the peers with role = \"voter\" are the committee"));
        }
        if self.session.contains_key("stop_at") {
            return Err(wrong("session.stop_at", "`tokens` says when the session ends"));
        }
        let placeholder = Committee::Steward { key: setup.signers()[0].key() };
        let manifest = Manifest { committee: placeholder, ..setup.manifest };
        let session = |error: String| wrong("session", error);
        let text = manifest.to_toml().map_err(|error| session(error.to_string()))?;
        let mut table: toml::Table = toml::from_str(&text).map_err(|error| session(error.to_string()))?;
        merge(&mut table, &self.session);
        // Lines of the merged text would mean nothing to whoever wrote the scenario.
        let merged = toml::Value::Table(table).try_into::<Manifest>();
        setup.manifest = merged.map_err(|error| session(text::explain("", &error)))?;
        setup.manifest.to_toml().map_err(|error| session(error.to_string()))?;
        Ok(setup)
    }

    fn links(&self, setup: &mut Setup, regions: &[String]) -> Result<(), ScenarioError> {
        let network = &self.network;
        let loss = per_mille("network.loss", network.loss)?;
        let duplicated = per_mille("network.duplicated", network.duplicated)?;
        let (latency, jitter) = (network.latency, network.jitter);
        setup.link = Link { latency, jitter, loss, duplicated, bandwidth: None };
        setup.detection = network.detection;
        for between in &network.between {
            let [a, b] = &between.regions;
            if let Some(unknown) = between.regions.iter().find(|region| !regions.contains(region)) {
                return Err(wrong("network.between", format!("no group is in region {unknown:?}")));
            }
            let (latency, jitter) = (between.latency, between.jitter);
            let link = Link { latency, jitter, ..setup.link };
            let of = |region: &String| {
                let here = regions.iter().enumerate().filter(|(_, other)| *other == region);
                here.map(|(index, _)| index).collect::<Vec<_>>()
            };
            for (from, to) in of(a).into_iter().flat_map(|from| of(b).into_iter().map(move |to| (from, to))) {
                setup.special.push((from, to, link));
                setup.special.push((to, from, link));
            }
        }
        Ok(())
    }
}

/// Fields of `over` take the place of those of `base`; tables are merged, but for those that choose one
/// kind of several by their only name.
fn merge(base: &mut toml::Table, over: &toml::Table) {
    let only = |table: &toml::Table| (table.len() == 1).then(|| table.keys().next().cloned()).flatten();
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (Some(toml::Value::Table(base)), toml::Value::Table(over))
                if only(base).is_none() || only(over).is_none() || only(base) == only(over) =>
            {
                merge(base, over);
            }
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

/// Of 1000 messages, how many a share is.
fn per_mille(field: &str, share: f64) -> Result<u32, ScenarioError> {
    match share {
        0.0 => Ok(0),
        0.001..=1.0 => Ok((share * 1000.0).round() as u32),
        _ => Err(wrong(field, "a share of messages is 0, or 0.001 to 1")),
    }
}

fn moment(span: Span) -> Time {
    Time(span.0)
}

#[cfg(test)]
mod tests;

//! The defaults of the named models (FORMATS, "Defaults").

use super::{Admission, Data, DeadlineBounds, Manifest, Optimizer, Origin, Pacing, Training, text};
use crate::codec::Codec;
use crate::committee::Committee;
use crate::identity::Hash;
use crate::method::one_byte::Estimator;
use crate::method::{Co2, Combine, Ef21, Method, MethodName, OneByte, Overrun, SparseLoCo, StreamingDiLoCo};
use crate::model::{Model, ModelError};

/// Muon's learning rate, measured on `gpt:tiny`; its updates have one size, whatever the model.
const MUON_RATE: f32 = 0.02;

/// EF21's step sizes: on `gpt:tiny` the best of .5, .25, .2, .1 and .05, of which .25 is unsteady and .5 diverges where
/// batches are small; on the digits .7 is the best of .3 to 2, and not steady either.
const GPT_GAMMA: f32 = 0.1;
const TABLE_GAMMA: f32 = 0.5;

/// A named model with the method and training that suit it.
#[derive(Clone, PartialEq, Debug)]
pub struct Preset {
    /// The model.
    pub model: Model,
    /// The method, with numbers that suit the model.
    pub method: Method,
    /// The inner training; set `budget_tokens` to the session's.
    pub training: Training,
}

impl Manifest {
    /// The defaults for a named model.
    pub fn preset(model: &str) -> Result<Preset, ModelError> {
        match Model::named(model)? {
            gpt @ Model::Gpt(_) => Ok(Manifest::preset_of_texts(model, gpt)),
            table => Ok(Manifest::preset_of_tables(table)),
        }
    }

    /// Gradient descent on 16 rows a step, all of a small model at once.
    fn preset_of_tables(model: Model) -> Preset {
        let method = streaming(1, 12, 0.7);
        let training = Training {
            batch: 16,
            optimizer: Optimizer::Sgd,
            learning_rate: 0.2,
            warmup: 0.0,
            final_share: 0.0,
            weight_decay: 0.0,
            // No gradient is as long.
            clip: 1.0e6,
            budget_tokens: 122_880,
        };
        Preset { model, method: Method::StreamingDiLoCo(method), training }
    }

    fn preset_of_texts(name: &str, model: Model) -> Preset {
        // A tiny run has few steps at a high rate: with a warm-up of 5% its loss varies by .05 between
        // seeds, with 10% by .02 and it is lower (simulations, `table streaming-diloco-learning`).
        let (period, eta, batch, learning_rate, warmup, budget_tokens) = match name {
            "gpt:tiny" => (15, 0.7, 12, 4e-3, 0.1, 1_536_000),
            "gpt:small" => (30, 0.4, 8, 1e-3, 0.05, 100_000_000),
            // gpt:gpt2.
            _ => (100, 0.4, 8, 6e-4, 0.05, 10_000_000_000),
        };
        let method = streaming(model.layers().div_ceil(3), period, eta);
        let training = Training {
            batch,
            optimizer: Optimizer::AdamW,
            learning_rate,
            warmup,
            final_share: 0.05,
            weight_decay: 0.1,
            clip: 1.0,
            budget_tokens,
        };
        Preset { model, method: Method::StreamingDiLoCo(method), training }
    }
}

/// What all presets of Streaming DiLoCo have in common.
fn streaming(fragments: u16, period: u32, eta: f32) -> StreamingDiLoCo {
    StreamingDiLoCo {
        fragments,
        period,
        tau: 1,
        alpha: 0.5,
        eta,
        mu: 0.9,
        codec: Codec::E3M0,
        feedback: None,
        max_overrun: Overrun::Slot,
    }
}

impl Preset {
    /// The same with another method, whose numbers are those that suit the model as far as they are
    /// known: the period stays.
    #[must_use]
    pub fn with_method(mut self, name: MethodName) -> Preset {
        match name {
            MethodName::StreamingDiLoCo => {}
            MethodName::SparseLoCo => {
                let (period, eta, beta, codec) = (self.method.period(), 1.0, 0.95, SparseLoCo::CODEC);
                self.method = Method::SparseLoCo(SparseLoCo { period, eta, beta, codec });
            }
            MethodName::Co2 => {
                let (period, codec) = (self.method.period(), self.method.codec().unwrap_or(Codec::E3M0));
                let (eta, beta, phi, penalty) = (1.0, 0.2, 1.0, true);
                self.method = Method::Co2(Co2 { period, eta, beta, phi, penalty, codec });
            }
            MethodName::Spsa => self.with_bytes(Estimator::Spsa),
            MethodName::Fzoo => self.with_bytes(Estimator::Fzoo),
            MethodName::Ef21 => {
                let gamma = match self.model {
                    Model::Gpt(_) => GPT_GAMMA,
                    Model::Mlp(_) | Model::Cnn(_) | Model::Logistic(_) => TABLE_GAMMA,
                };
                let (batches, members, codec) = (8, Ef21::MEMBERS, Ef21::CODEC);
                self.method = Method::Ef21(Ef21 { batches, gamma, eta: 1.0, members, codec });
                // The engine takes no steps of its own, so that an optimizer's moments would be of no use.
                self.training.optimizer = Optimizer::Sgd;
            }
            MethodName::MuLoCo => {
                self.method.set_codec(Codec::Statistical);
                // Muon is for matrices in the middle of a network; small models have hardly any.
                if matches!(self.model, Model::Gpt(_)) {
                    self.training.optimizer = Optimizer::Muon { learning_rate: MUON_RATE };
                }
            }
        }
        self
    }

    /// Eight samples a step of each member.
    fn with_bytes(&mut self, estimator: Estimator) {
        let rate = match (estimator, self.model) {
            // Measured for `gpt:tiny` (834,304 parameters). What is steady falls with the sum of all curvatures.
            (Estimator::Spsa | Estimator::Fzoo, Model::Gpt(_)) => 834.0 / self.model.parameters() as f32,
            (Estimator::Spsa, _) => 8e-3,
            (Estimator::Fzoo, _) => 2.4e-2,
        };
        let gpt = matches!(self.model, Model::Gpt(_));
        // Steps of a small model take milliseconds: a certificate is rarer, and costs less of each sample.
        let batch_steps = if gpt { 64 } else { 128 };
        self.method = Method::OneByte(OneByte { batch_steps, ..OneByte::of(estimator, rate) });
        if !gpt {
            (self.training.batch, self.training.budget_tokens) = (64, 512_000);
        }
    }

    /// A manifest with this model, method and training, and the general defaults in everything else:
    /// anyone may join, nothing is clipped, it has no name, no end, and its seed and genesis are zero.
    #[must_use]
    pub fn manifest(self, committee: Committee, data: Data) -> Manifest {
        let most = self.method.one_byte().map_or(u16::MAX, OneByte::most_contributors);
        let max_contributors = text::max_contributors().min(most);
        Manifest {
            name: String::new(),
            rules: text::rules(),
            model: self.model,
            tokenizer: None,
            seed: [0; 32],
            genesis: Hash::default(),
            origin: Origin::Seed,
            init_scale: text::init_scale(),
            method: self.method,
            training: self.training,
            pacing: Pacing::Uniform,
            committee,
            admission: Admission::Open,
            data,
            stop_at: None,
            deadline: DeadlineBounds::default(),
            heartbeat: text::heartbeat(),
            max_lag: text::max_lag(),
            max_contributors,
            snapshot_every: text::snapshot_every(),
            clip: None,
            combine: Combine::Mean,
            slowest_link: text::slowest_link(),
        }
    }
}

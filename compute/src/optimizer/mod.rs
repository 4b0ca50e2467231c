//! Inner optimizers: what turns a gradient into a change of the parameters.

mod adamw;
pub(crate) mod muon;
mod sgd;

pub use adamw::AdamW;
pub(crate) use adamw::{Coefficients, Decay, Moments};
pub use muon::Muon;
pub use sgd::Sgd;
pub(crate) use sgd::{SgdStep, descend};

/// Which optimizer, with its numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimizer {
    /// AdamW for everything.
    AdamW(AdamW),
    /// Muon for the matrices of a GPT's blocks, whose weight decay is AdamW's number at Muon's rate; AdamW for the rest.
    Muon {
        /// The matrices' optimizer.
        muon: Muon,
        /// That of everything else.
        adamw: AdamW,
    },
    /// Gradient descent for everything.
    Sgd(Sgd),
}

impl Optimizer {
    /// Muon, where there is one.
    #[must_use]
    pub fn muon(&self) -> Option<&Muon> {
        if let Optimizer::Muon { muon, .. } = self { Some(muon) } else { None }
    }

    /// Whether it keeps two moments of every parameter.
    pub(crate) fn has_moments(&self) -> bool {
        !matches!(self, Optimizer::Sgd(_))
    }
}

impl Default for Optimizer {
    fn default() -> Optimizer {
        Optimizer::AdamW(AdamW::default())
    }
}

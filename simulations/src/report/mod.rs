//! What is left of a run: a folder with its scenario, its events, tables and one page with plots.
//!
//! | file | holds |
//! |---|---|
//! | `scenario.toml` | the scenario as it was read |
//! | `summary.json` | seed, end, trace: what `run --json` prints last |
//! | `events.jsonl` | what every peer told, in order of time |
//! | `heights.csv` | every height: when it was decided, what it closed, who was counted |
//! | `peers.csv` | every peer: work, bytes, how it ended |
//! | `report.html` | all of it on one page that needs nothing else |

mod charts;
mod events;
pub(crate) mod page;
mod series;

use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

use crate::world::World;

pub use charts::Chart;

/// A finished run.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// Its name, for people.
    pub name: &'a str,
    /// What it is about.
    pub about: &'a str,
    /// The scenario's text; empty if there is none.
    pub scenario: &'a str,
    /// Where each peer is; empty if nobody said.
    pub regions: &'a [String],
    /// What came of it.
    pub summary: &'a Value,
    /// The world at its end.
    pub world: &'a World,
}

impl Run<'_> {
    /// Writes everything into `folder`, which is made if it is not there; `plots` also as files.
    ///
    /// # Errors
    /// What the system says, with the file.
    pub fn write(&self, folder: &Path, plots: bool) -> Result<(), String> {
        let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
        std::fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).map_err(|error| failed(&path, error))
        };
        let charts = series::charts(self.world);
        if !self.scenario.is_empty() {
            write("scenario.toml", self.scenario)?;
        }
        write("events.jsonl", &events::lines(self.world))?;
        write("heights.csv", &heights(self.world))?;
        write("peers.csv", &self.peers())?;
        if plots {
            charts.iter().try_for_each(|chart| write(&format!("{}.svg", chart.name), &chart.svg()))?;
        }
        write("report.html", &page::page(self, &charts))?;
        // The last one: where it is, the run is complete.
        write("summary.json", &format!("{:#}\n", self.summary))
    }

    fn peers(&self) -> String {
        let mut text = String::from(
            "peer,key,role,region,step_seconds,steps,trained_seconds,utilization,counted,crashes,\
             messages_sent,messages_received,blobs_sent,blobs_received,ending\n",
        );
        for row in series::rows(self.world, self.regions) {
            let traffic = row.traffic;
            let _ = writeln!(
                text,
                "{},{},{},{},{:.3},{},{:.3},{:.4},{},{},{},{},{},{},{}",
                row.peer,
                row.key,
                row.role,
                row.region,
                row.step,
                row.steps,
                row.trained,
                row.utilization,
                row.counted,
                row.crashes,
                traffic.messages_sent,
                traffic.messages_received,
                traffic.blobs_sent,
                traffic.blobs_received,
                row.ending
            );
        }
        text
    }
}

fn heights(world: &World) -> String {
    let mut text = String::from("height,seconds,slots,counted,tokens,bytes_sent\n");
    for (index, decided) in world.decided().iter().enumerate() {
        let counted: usize = decided.closed.iter().map(|(_, peers)| peers.len()).sum();
        let (seconds, slots) = (decided.at.0 as f64 / 1e6, decided.closed.len());
        let (tokens, sent) = (decided.tokens, decided.sent);
        let _ = writeln!(text, "{},{seconds:.6},{slots},{counted},{tokens},{sent}", index + 1);
    }
    text
}

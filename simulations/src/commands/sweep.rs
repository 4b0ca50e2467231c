//! `driftless-sim sweep`: a scenario over a grid of values.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde_json::Value;

use super::living::{live, summary};
use super::{CommandError, threads};
use crate::report::Run;
use crate::report::page::{STYLE, escaped};
use crate::scenario::{Scenario, ScenarioError};

/// What to vary.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The scenario (docs/scenarios.md)
    pub scenario: PathBuf,
    /// A field and its values, once for each field
    #[arg(long, required = true, value_name = "FIELD=VALUE,VALUE...", value_parser = axis)]
    pub vary: Vec<Axis>,
    /// Folder for all runs [default: the scenario's name and "-sweep"]
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Runs at a time [default: the machine's cores]
    #[arg(long)]
    pub threads: Option<usize>,
    /// One JSON object per line on standard output
    #[arg(long)]
    pub json: bool,
}

/// A field and its values.
#[derive(Debug, Clone)]
pub struct Axis {
    field: String,
    values: Vec<String>,
}

fn axis(text: &str) -> Result<Axis, String> {
    let wrong = || format!("{text:?} is no FIELD=VALUE,VALUE...");
    let (field, values) = text.split_once('=').ok_or_else(wrong)?;
    let values: Vec<String> = values.split(',').map(|value| value.trim().to_owned()).collect();
    if field.is_empty() || values.iter().any(String::is_empty) {
        return Err(wrong());
    }
    Ok(Axis { field: field.trim().to_owned(), values })
}

/// One point of the grid.
struct Point {
    values: Vec<String>,
    text: String,
    folder: PathBuf,
}

/// Runs every combination that is not there yet, and tells of all.
///
/// # Errors
/// A scenario or a field that is none, or runs that failed.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    let path = &arguments.scenario;
    let shown = path.display();
    let text = Scenario::text(path).map_err(|error| CommandError::Usage(error.to_string()))?;
    let stem = path.file_stem().map_or_else(|| "scenario".into(), |stem| stem.to_string_lossy());
    let out = arguments.out.clone().unwrap_or_else(|| PathBuf::from(format!("{stem}-sweep")));
    let points = grid(&text, &arguments.vary, &out)
        .map_err(|error| CommandError::Usage(format!("{shown}, {error}")))?;
    let summaries = run_all(arguments, &points)?;
    write(&out, arguments, &points, &summaries)?;
    let failed = summaries.iter().filter(|summary| !summary["error"].is_null()).count();
    if failed == 0 {
        return Ok(());
    }
    Err(CommandError::Failed(format!("{failed} of {} runs failed: sweep.csv names them", points.len())))
}

/// Every combination, checked before the first one runs.
fn grid(text: &str, axes: &[Axis], out: &Path) -> Result<Vec<Point>, ScenarioError> {
    let mut points = vec![(Vec::new(), text.to_owned())];
    for axis in axes {
        let mut more = Vec::new();
        for (values, text) in &points {
            for value in &axis.values {
                let values = values.iter().chain([value]).cloned().collect();
                more.push((values, Scenario::vary(text, &axis.field, value)?));
            }
        }
        points = more;
    }
    let point = |(index, (values, text)): (usize, (Vec<String>, String))| {
        Scenario::parse(&text)?.plan()?;
        Ok(Point { values, text, folder: out.join(format!("{index:04}")) })
    };
    points.into_iter().enumerate().map(point).collect()
}

fn run_all(arguments: &Arguments, points: &[Point]) -> Result<Vec<Value>, CommandError> {
    let known: Vec<Option<Value>> = points.iter().map(Point::done).collect();
    let missing: Vec<usize> = (0..points.len()).filter(|index| known[*index].is_none()).collect();
    if missing.len() < points.len() {
        eprintln!("{} of {} runs are there already", points.len() - missing.len(), points.len());
    }
    let threads = threads(arguments.threads);
    let (next, begun) = (AtomicUsize::new(0), Instant::now());
    let results = Mutex::new((known, 0_usize, None));
    let work = || {
        while let Some(index) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = points[*index].run();
            let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
            let (summaries, done, error) = &mut *results;
            match result {
                Ok(summary) => {
                    *done += 1;
                    let left = begun.elapsed().as_secs_f64() / *done as f64 * (missing.len() - *done) as f64;
                    let values = named(&arguments.vary, &points[*index].values);
                    eprintln!("{values}: done; {done} of {} runs, {left:.0} s left", missing.len());
                    summaries[*index] = Some(summary);
                }
                Err(text) => {
                    error.get_or_insert(text);
                    next.store(missing.len(), Ordering::Relaxed);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        (0..threads.clamp(1, missing.len().max(1))).for_each(|_| drop(scope.spawn(work)));
    });
    let (summaries, _, error) = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    match error {
        Some(error) => Err(CommandError::Failed(error)),
        None => Ok(summaries.into_iter().flatten().collect()),
    }
}

impl Point {
    /// What came of an earlier run of the very same scenario, if it was complete.
    fn done(&self) -> Option<Value> {
        let before = std::fs::read_to_string(self.folder.join("scenario.toml")).ok()?;
        let summary = std::fs::read_to_string(self.folder.join("summary.json")).ok()?;
        (before == self.text).then(|| serde_json::from_str(&summary).ok()).flatten()
    }

    /// Runs it. A broken promise is a result; a folder that cannot be written is an error.
    fn run(&self) -> Result<Value, String> {
        let scenario = Scenario::parse(&self.text).map_err(|error| error.to_string())?;
        let plan = scenario.plan().map_err(|error| error.to_string())?;
        let mut world = plan.world().map_err(|error| error.to_string())?;
        let over = live(&mut world, &plan, scenario.limit, &mut |_, _| {});
        let summary = summary(scenario.seed, &world, over.as_ref().err());
        // Whatever is left of another scenario does not count as this one's.
        let _ = std::fs::remove_file(self.folder.join("summary.json"));
        let run = Run {
            name: &scenario.name,
            about: &scenario.about,
            scenario: &self.text,
            regions: &plan.regions,
            summary: &summary,
            world: &world,
        };
        run.write(&self.folder, false)?;
        Ok(summary)
    }
}

fn named(axes: &[Axis], values: &[String]) -> String {
    let pairs = axes.iter().zip(values).map(|(axis, value)| format!("{} = {value}", axis.field));
    pairs.collect::<Vec<_>>().join(", ")
}

/// What a summary tells in the table.
const COLUMNS: [&str; 7] =
    ["heights", "tokens", "seconds", "validation_loss", "bytes_sent", "replicas_identical", "error"];

fn write(
    out: &Path,
    arguments: &Arguments,
    points: &[Point],
    summaries: &[Value],
) -> Result<(), CommandError> {
    let fields: Vec<&str> = arguments.vary.iter().map(|axis| axis.field.as_str()).collect();
    let header: Vec<&str> = ["run"].into_iter().chain(fields.iter().copied()).chain(COLUMNS).collect();
    let rows: Vec<Vec<String>> = points
        .iter()
        .zip(summaries)
        .map(|(point, summary)| {
            let run = point.folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into());
            let shown = COLUMNS.map(|column| match &summary[column] {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                value => value.to_string(),
            });
            std::iter::once(run).chain(point.values.clone()).chain(shown).collect()
        })
        .collect();
    if arguments.json {
        for (point, summary) in points.iter().zip(summaries) {
            let mut line = summary.clone();
            line["event"] = "run".into();
            line["values"] = fields.iter().copied().zip(point.values.iter().cloned()).collect();
            println!("{line}");
        }
    } else {
        println!("{}", header.join("\t"));
        rows.iter().for_each(|row| println!("{}", row.join("\t")));
    }
    let csv = std::iter::once(header.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(","))
        .chain(rows.iter().map(|row| row.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(",")))
        .fold(String::new(), |text, line| text + &line + "\n");
    for (name, text) in [("sweep.csv", csv), ("index.html", page(&arguments.scenario, &header, &rows))] {
        let path = out.join(name);
        std::fs::write(&path, text)
            .map_err(|error| CommandError::Failed(format!("{}: {error}", path.display())))?;
    }
    eprintln!("{} shows all", out.join("index.html").display());
    Ok(())
}

fn quoted(text: &str) -> String {
    match text.contains([',', '"', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

fn page(scenario: &Path, header: &[&str], rows: &[Vec<String>]) -> String {
    let name = escaped(&scenario.display().to_string());
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{name}</title><style>{STYLE}</style>\
         <h1>{name}</h1><p>Every combination; each leads to its page.</p><table><tr>"
    );
    header.iter().for_each(|text| {
        let _ = write!(page, "<th>{}</th>", escaped(text));
    });
    page.push_str("</tr>");
    for row in rows {
        page.push_str("<tr>");
        for (column, text) in row.iter().map(|text| escaped(text)).enumerate() {
            let _ = match column {
                0 => write!(page, "<td><a href=\"{text}/report.html\">{text}</a></td>"),
                _ => write!(page, "<td>{text}</td>"),
            };
        }
        page.push_str("</tr>");
    }
    page.push_str("</table></html>\n");
    page
}

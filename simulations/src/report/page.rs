//! One page that needs nothing else: no script, no style sheet, no image beside it.

use std::fmt::Write;

use super::Run;
use super::charts::Chart;
use super::series::{Row, rows};

pub(crate) const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;max-width:1120px;margin:2em auto;padding:0 1em;\
color:#222}h1{margin-bottom:0}table{border-collapse:collapse;font-variant-numeric:tabular-nums}td,th{padding:\
.15em .7em;text-align:right;border-bottom:1px solid #ddd}th{border-bottom:2px solid #888}td.t,th.t{text-align:\
left}.plots{display:flex;flex-wrap:wrap;gap:1em}figure{margin:0}figcaption{font-weight:600}svg{max-width:100%;\
height:auto}td.t{white-space:nowrap}.bar{display:inline-block;height:.7em;background:#e6194b;margin-left:.5em}pre{background:#f5f5f5;\
padding:1em;overflow:auto}";

pub(super) fn page(run: &Run<'_>, charts: &[Chart]) -> String {
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{name}</title><style>{STYLE}</style><h1>{name}</h1><p>{about}</p>",
        name = escaped(run.name),
        about = escaped(run.about)
    );
    page.push_str("<h2>What came of it</h2><table>");
    for (key, value) in run.summary.as_object().into_iter().flatten().filter(|(key, _)| *key != "event") {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let (key, value) = (escaped(key), escaped(&value));
        let _ = write!(page, "<tr><td class=\"t\">{key}</td><td class=\"t\">{value}</td></tr>");
    }
    page.push_str("</table><h2>Plots</h2><div class=\"plots\">");
    for chart in charts {
        let (title, svg) = (escaped(chart.title), chart.svg());
        let _ = write!(page, "<figure><figcaption>{title}</figcaption>{svg}</figure>");
    }
    page.push_str("</div><h2>Peers</h2>");
    peers(&mut page, &rows(run.world, run.regions));
    if !run.scenario.is_empty() {
        let _ = write!(page, "<h2>Scenario</h2><pre>{}</pre>", escaped(run.scenario));
    }
    page.push_str("</html>\n");
    page
}

fn peers(page: &mut String, rows: &[Row]) {
    page.push_str(
        "<table><tr><th>peer</th><th class=\"t\">role</th><th class=\"t\">region</th><th>step, s</th><th>steps\
         </th><th>counted</th><th class=\"t\">utilization</th><th class=\"t\">MB sent</th><th>MB received</th>\
         <th>messages, MB</th><th>crashes</th><th class=\"t\">end</th></tr>",
    );
    let sent = |row: &Row| (row.traffic.messages_sent + row.traffic.blobs_sent) as f64 / 1e6;
    let received = |row: &Row| (row.traffic.messages_received + row.traffic.blobs_received) as f64 / 1e6;
    let most = rows.iter().map(sent).fold(1e-9, f64::max);
    for row in rows {
        let messages = (row.traffic.messages_sent + row.traffic.messages_received) as f64 / 1e6;
        let _ = write!(
            page,
            "<tr><td>{}</td><td class=\"t\">{}</td><td class=\"t\">{}</td><td>{:.3}</td><td>{}</td><td>{}</td>\
             <td class=\"t\">{:.0}%{}</td><td class=\"t\">{:.2}{}</td><td>{:.2}</td><td>{messages:.2}</td>\
             <td>{}</td><td class=\"t\">{}</td></tr>",
            row.peer,
            row.role,
            escaped(&row.region),
            row.step,
            row.steps,
            row.counted,
            100.0 * row.utilization,
            bar(row.utilization),
            sent(row),
            bar(sent(row) / most),
            received(row),
            row.crashes,
            row.ending
        );
    }
    page.push_str("</table>");
}

fn bar(share: f64) -> String {
    format!("<span class=\"bar\" style=\"width:{:.0}px\"></span>", 60.0 * share.clamp(0.0, 1.0))
}

pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

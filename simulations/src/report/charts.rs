//! Plots as SVG.

use plotters::coord::Shift;
use plotters::prelude::*;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Builder<'a, 'b> = ChartBuilder<'a, 'b, SVGBackend<'b>>;

/// Pixels.
const SIZE: (u32, u32) = (720, 320);

/// One plot.
pub struct Chart {
    /// Its file's name, without an ending.
    pub name: &'static str,
    /// What it shows.
    pub title: &'static str,
    pub(super) x: &'static str,
    pub(super) y: &'static str,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    /// Lines over common axes.
    Lines(Vec<Line>),
    /// Filled cells: column and row.
    Cells { rows: usize, cells: Vec<(usize, usize)> },
}

pub(super) struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

impl Chart {
    /// The plot as an SVG document; a remark in its place if there is nothing to plot.
    #[must_use]
    pub fn svg(&self) -> String {
        let mut svg = String::new();
        let drawn = self.draw(&SVGBackend::with_string(&mut svg, SIZE).into_drawing_area());
        // Drawing into memory fails only for axes without an extent.
        match drawn {
            Ok(()) => svg,
            Err(_) => {
                format!("<svg xmlns=\"http://www.w3.org/2000/svg\"><title>{}</title></svg>", self.title)
            }
        }
    }

    fn draw(&self, root: &Area<'_>) -> Result<(), Box<dyn std::error::Error>> {
        root.fill(&WHITE)?;
        let mut builder = ChartBuilder::on(root);
        builder.margin(12).x_label_area_size(36).y_label_area_size(64);
        match &self.kind {
            Kind::Lines(lines) => self.lines(builder, lines)?,
            Kind::Cells { rows, cells } => self.cells(builder, *rows, cells)?,
        }
        root.present()?;
        Ok(())
    }

    fn lines(&self, mut builder: Builder<'_, '_>, lines: &[Line]) -> Result<(), Box<dyn std::error::Error>> {
        let points = || lines.iter().flat_map(|line| line.points.iter().copied());
        let (x, y) = (extent(points().map(|point| point.0)), extent(points().map(|point| point.1)));
        let mut chart = builder.build_cartesian_2d(x, y)?;
        chart.configure_mesh().x_desc(self.x).y_desc(self.y).max_light_lines(0).draw()?;
        for (index, line) in lines.iter().enumerate() {
            let color = Palette99::pick(index).to_rgba();
            let series = LineSeries::new(line.points.iter().copied(), color.stroke_width(2));
            let legend = move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2));
            chart.draw_series(series)?.label(line.name.as_str()).legend(legend);
        }
        chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
        Ok(())
    }

    fn cells(
        &self,
        mut builder: Builder<'_, '_>,
        rows: usize,
        cells: &[(usize, usize)],
    ) -> Result<(), Box<dyn std::error::Error>> {
        let columns = cells.iter().map(|(column, _)| column + 1).max().unwrap_or(1);
        let mut chart = builder.build_cartesian_2d(0..columns, 0..rows)?;
        chart.configure_mesh().x_desc(self.x).y_desc(self.y).disable_mesh().draw()?;
        let color = Palette99::pick(0).to_rgba();
        let cell = |(column, row): &(usize, usize)| {
            Rectangle::new([(*column, *row), (column + 1, row + 1)], color.filled())
        };
        chart.draw_series(cells.iter().map(cell))?;
        Ok(())
    }
}

/// From the least to the greatest, never empty.
fn extent(values: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let (least, greatest) = values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, greatest), value| {
            (least.min(value), greatest.max(value))
        });
    match least < greatest {
        true => least..greatest,
        false if least.is_finite() => least - 0.5..least + 0.5,
        false => 0.0..1.0,
    }
}

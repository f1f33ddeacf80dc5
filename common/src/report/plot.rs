//! Bars, drawn as SVG: no font and no picture is loaded, text stays text.

use plotters::prelude::{
    BLACK, ChartBuilder, Color, IntoDrawingArea, IntoSegmentedCoord, RGBColor, Rectangle, SVGBackend,
    SegmentValue, SeriesLabelPosition, WHITE,
};

use crate::error::{Error, Result};

/// Told apart also by those who see few colours (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
];
const SIZE: (u32, u32) = (760, 280);

/// Bars, one a label, stacked from series.
#[derive(Debug)]
pub struct Bars {
    /// What they show.
    pub title: &'static str,
    /// Under the bars.
    pub labels: Vec<String>,
    /// A name and a value for each label.
    pub series: Vec<(String, Vec<i64>)>,
}

impl Bars {
    /// An `svg` element; none where there is nothing to show.
    ///
    /// # Errors
    /// A defect: what cannot be drawn.
    pub fn svg(&self) -> Result<Option<String>> {
        let heights = self.series.iter().map(|(_, values)| values.as_slice());
        let most = heights.fold(vec![0; self.labels.len()], |mut sums, values| {
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
            sums
        });
        let most = most.into_iter().max().unwrap_or_default();
        if most == 0 {
            return Ok(None);
        }
        let mut svg = String::new();
        self.draw(&mut svg, most).map_err(|error| Error::internal(error.to_string()))?;
        Ok(Some(svg))
    }

    fn draw(&self, svg: &mut String, most: i64) -> std::result::Result<(), Box<dyn std::error::Error>> {
        let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let bars = (0..self.labels.len() - 1).into_segmented();
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(28)
            .y_label_area_size(44)
            // room for the legend
            .build_cartesian_2d(bars, 0..most + most / 4 + 1)?;
        let label = |at: &SegmentValue<usize>| match at {
            SegmentValue::CenterOf(at) => self.labels.get(*at).cloned().unwrap_or_default(),
            _ => String::new(),
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(self.labels.len())
            .x_label_formatter(&label)
            .label_style(("sans-serif", if self.labels.len() > 8 { 11 } else { 13 }))
            .light_line_style(WHITE)
            .draw()?;
        let mut bottoms = vec![0; self.labels.len()];
        for ((name, values), colour) in self.series.iter().zip(COLOURS.iter().cycle().copied()) {
            let parts: Vec<_> = values
                .iter()
                .zip(&mut bottoms)
                .enumerate()
                .map(|(at, (value, bottom))| {
                    let low = *bottom;
                    *bottom += value;
                    let corners = [(SegmentValue::Exact(at), low), (SegmentValue::Exact(at + 1), *bottom)];
                    let mut part = Rectangle::new(corners, colour.filled());
                    part.set_margin(0, 0, 6, 6);
                    part
                })
                .collect();
            chart
                .draw_series(parts)?
                .label(name.clone())
                .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled()));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.2))
            .label_font(("sans-serif", 12))
            .draw()?;
        area.present()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars(labels: &[&str], series: &[(&str, &[i64])]) -> Bars {
        Bars {
            title: "Bars",
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            series: series.iter().map(|(name, values)| ((*name).to_owned(), values.to_vec())).collect(),
        }
    }

    #[test]
    fn bars_are_drawn_with_their_labels_and_what_is_written_does_no_harm() {
        for (labels, series) in [
            (vec!["2026-01"], vec![("a", &[3][..])]),
            (vec!["x", "y"], vec![("a", &[3, 0][..]), ("b", &[1_000_000_000, 2][..])]),
        ] {
            let svg = bars(&labels, &series).svg().expect("drawn").expect("something");
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
            for label in labels {
                assert!(svg.contains(label), "{label}: {svg}");
            }
        }
        let svg = bars(&["<script>"], &[("</svg>", &[1])]).svg().expect("drawn").expect("something");
        assert!(!svg.contains("<script>"), "{svg}");
        assert_eq!(svg.matches("</svg>").count(), 1);
        assert!(
            !svg.contains("http")
                || svg.matches("http").count() == svg.matches("http://www.w3.org/2000/svg").count()
        );
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        assert!(bars(&[], &[]).svg().expect("drawn").is_none());
        assert!(bars(&["a"], &[("x", &[0])]).svg().expect("drawn").is_none());
    }
}

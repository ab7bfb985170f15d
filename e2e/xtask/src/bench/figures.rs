//! Samples, what is made of them, and how they are shown: medians with quartiles, and ratios of runs that took turns.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// All runs of one thing, in the order in which they were made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    pub(crate) what: String,
    pub(crate) unit: String,
    pub(crate) runs: Vec<f64>,
    /// What this is compared with, by its name.
    pub(crate) against: Option<String>,
}

/// Every series of a bench.
#[derive(Debug, Default)]
pub(crate) struct Figures(Vec<Series>);

/// What is reported of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) quartiles: [f64; 2],
}

impl Figures {
    /// Adds one run.
    pub(crate) fn add(&mut self, what: &str, unit: &str, run: f64) {
        match self.0.iter_mut().find(|series| series.what == what) {
            Some(series) => series.runs.push(run),
            None => {
                self.0.push(Series { what: what.to_owned(), unit: unit.to_owned(), runs: vec![run], against: None })
            }
        }
    }

    /// Adds one run of something that takes minutes, and says so: what was found is not lost with what comes after it.
    pub(crate) fn add_and_print(&mut self, what: &str, unit: &str, run: f64) {
        eprintln!("{what}: {} {unit}", shown(run));
        self.add(what, unit, run);
    }

    /// Adds every line `sample NUMBER UNIT WHAT` of what a program printed; other lines are its own affair.
    pub(crate) fn read(&mut self, printed: &str) -> Result<()> {
        for line in printed.lines() {
            let Some(sample) = line.trim().strip_prefix("sample ") else { continue };
            let mut words = sample.splitn(3, ' ');
            let (Some(number), Some(unit), Some(what)) = (words.next(), words.next(), words.next()) else { continue };
            let number: f64 = number.parse().with_context(|| format!("`{line}` holds no number"))?;
            let (number, unit) = if unit == "ns" { (number / 1e6, "ms") } else { (number, unit) };
            self.add(what, unit, number);
        }
        Ok(())
    }

    /// Compares `what` with `with`, run by run.
    pub(crate) fn compare(&mut self, what: &str, with: &str) {
        for series in self.0.iter_mut().filter(|series| series.what == what) {
            series.against = Some(with.to_owned());
        }
    }

    /// The series of this name.
    pub(crate) fn series(&self, what: &str) -> Option<&Series> {
        self.0.iter().find(|series| series.what == what)
    }

    /// The names, in the order in which they came.
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.iter().map(|series| series.what.clone()).collect()
    }

    /// The median of the runs' ratios, for two series whose runs took turns: what disturbs one run mostly disturbs the next
    /// one too, and so falls out.
    pub(crate) fn ratio(&self, series: &Series) -> Option<Summary> {
        let base = self.series(series.against.as_deref()?)?;
        Summary::of(series.runs.iter().zip(&base.runs).map(|(run, base)| run / base))
    }

    /// A table for people.
    pub(crate) fn table(&self) -> String {
        let width = self.0.iter().map(|series| series.what.len()).max().unwrap_or_default();
        let mut table = format!("{:width$}  {:>11}  {:>21}  {:>4}  ratio\n", "what", "median", "quartiles", "runs");
        for series in &self.0 {
            let Some(Summary { median, quartiles: [low, high] }) = series.summary() else { continue };
            let ratio = self.ratio(series).map_or_else(String::new, |ratio| {
                format!("{:.2} of {}", ratio.median, series.against.as_deref().unwrap_or_default())
            });
            let quartiles = format!("{} to {}", shown(low), shown(high));
            let unit = &series.unit;
            let count = series.runs.len();
            let median = format!("{} {unit}", shown(median));
            let line = format!("{:width$}  {median:>11}  {quartiles:>21}  {count:>4}  {ratio}", series.what);
            let _ = writeln!(table, "{}", line.trim_end());
        }
        table
    }

    /// The same as a table of Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut table = "| what | median | quartiles | runs | ratio |\n|---|---|---|---|---|\n".to_owned();
        for series in &self.0 {
            let Some(Summary { median, quartiles: [low, high] }) = series.summary() else { continue };
            let ratio = self.ratio(series).map_or_else(String::new, |ratio| {
                format!("{:.2} of {}", ratio.median, series.against.as_deref().unwrap_or_default())
            });
            let Series { what, unit, runs, .. } = series;
            let (median, low, high, count) = (shown(median), shown(low), shown(high), runs.len());
            let _ = writeln!(table, "| {what} | {median} {unit} | {low} to {high} | {count} | {ratio} |");
        }
        table
    }

    /// The same for programs, with every run.
    pub(crate) fn json(&self) -> Value {
        let rows = self.0.iter().filter_map(|series| {
            let Summary { median, quartiles } = series.summary()?;
            let mut row = json!({
                "what": series.what, "unit": series.unit, "median": median, "quartiles": quartiles, "runs": series.runs,
            });
            if let Some(ratio) = self.ratio(series) {
                row["ratio"] = json!({"against": series.against, "median": ratio.median, "quartiles": ratio.quartiles});
            }
            Some(row)
        });
        rows.collect()
    }
}

impl Series {
    /// Median and quartiles; none of no runs.
    pub(crate) fn summary(&self) -> Option<Summary> {
        Summary::of(self.runs.iter().copied())
    }
}

impl Summary {
    fn of(runs: impl Iterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = runs.collect();
        sorted.sort_by(f64::total_cmp);
        let at = |part: f64| quantile(&sorted, part);
        Some(Self { median: at(0.5)?, quartiles: [at(0.25)?, at(0.75)?] })
    }
}

/// Between the two runs that it falls between, in proportion (type 7 of Hyndman and Fan, which R and NumPy use).
fn quantile(sorted: &[f64], part: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    #[expect(clippy::cast_precision_loss, reason = "nobody makes 2^52 runs")]
    let place = part * last as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 0 and `last`")]
    let below = place as usize;
    let above = (below + 1).min(last);
    Some(sorted[below] + (sorted[above] - sorted[below]) * place.fract())
}

/// Three digits that mean something.
fn shown(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 1.0 => format!("{value:.3}"),
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(lines: &str) -> Figures {
        let mut figures = Figures::default();
        figures.read(lines).expect("samples");
        figures
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn quantiles_lie_between_runs() {
        let of = |runs: &[f64]| Summary::of(runs.iter().copied());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[7.0]), Some(Summary { median: 7.0, quartiles: [7.0, 7.0] }));
        assert_eq!(of(&[4.0, 1.0, 3.0, 2.0]), Some(Summary { median: 2.5, quartiles: [1.75, 3.25] }));
        assert_eq!(of(&[5.0, 1.0, 3.0, 2.0, 4.0]), Some(Summary { median: 3.0, quartiles: [2.0, 4.0] }));
    }

    #[test]
    fn samples_are_found_among_other_lines() {
        let figures =
            figures("[  1.0] kernel\nsample 2000000 ns a thing\nsample 5 KiB memory\n sample 4000000 ns a thing\n");
        let series = figures.series("a thing").expect("a series");
        assert_eq!((series.unit.as_str(), series.runs.as_slice()), ("ms", &[2.0, 4.0][..]));
        assert_eq!(figures.series("memory").expect("a series").unit, "KiB");
        assert!(Figures::default().read("sample x ns a").is_err());
    }

    /// The machine becomes three times as slow in the middle of it: the medians lie, the ratio does not.
    #[test]
    fn ratio_is_of_runs_one_after_the_other() {
        let mut figures = Figures::default();
        for slow in [1.0, 1.0, 3.0, 3.0, 3.0] {
            figures.add("ours", "ms", 2.0 * slow);
            figures.add("theirs", "ms", 4.0 * slow);
        }
        figures.compare("ours", "theirs");
        let ours = figures.series("ours").expect("a series");
        assert!(close(figures.ratio(ours).expect("compared").median, 0.5));
        assert!(figures.ratio(figures.series("theirs").expect("a series")).is_none());
        let expected = "\
what         median              quartiles  runs  ratio
ours        6.00 ms           2.00 to 6.00     5  0.50 of theirs
theirs      12.0 ms           4.00 to 12.0     5
";
        assert_eq!(figures.table(), expected);
        let json = figures.json();
        assert_eq!(json[0]["ratio"]["against"], "theirs");
        assert_eq!(json[1]["runs"].as_array().map(Vec::len), Some(5));
    }
}

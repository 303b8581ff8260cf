//! The list of seeds that failed once: `seed` or `seed:kept steps`, then `#` and why, one a line.

use super::shrink;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regression {
    /// The seed.
    pub seed: u64,
    /// The steps that are kept, as text; `None` keeps all.
    pub keep: Option<String>,
    /// Why it is here.
    pub why: String,
}

/// Reads the list. An entry without a reason is an error: it would be unclear what it guards.
pub fn read(text: &str) -> Result<Vec<Regression>, String> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    let entries = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    entries
        .map(|(number, line)| read_line(line).map_err(|error| format!("line {number}: {error}")))
        .collect()
}

fn read_line(line: &str) -> Result<Regression, String> {
    let (what, why) = line.split_once('#').ok_or("say after a # why the seed is here")?;
    let (seed, keep) = what
        .trim()
        .split_once(':')
        .map_or((what.trim(), None), |(seed, keep)| (seed, Some(keep.trim())));
    let seed = seed.trim().parse().map_err(|error| format!("{seed:?} is no seed: {error}"))?;
    keep.map(shrink::from_text).transpose()?;
    Ok(Regression { seed, keep: keep.map(str::to_owned), why: why.trim().to_owned() })
}

//! How things are shown: tables for people, JSON and YAML for programs.

use std::io::{self, Write};

use comfy_table::{ContentArrangement, Row, Table, presets};
use serde::Serialize;

use super::CliError;

/// How to show something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// A table, for people
    Table,
    /// JSON, for programs
    Json,
    /// YAML, of the same shape as JSON
    Yaml,
}

/// Columns without lines around them, under a header.
pub(super) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(Row::from(header.map(str::to_owned).to_vec()));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// Writes `value` as JSON or YAML, or what `text` makes of it.
pub(super) fn show<T: Serialize>(
    format: Format,
    value: &T,
    text: impl FnOnce(&T) -> String,
) -> Result<(), CliError> {
    let text = match format {
        Format::Json => {
            serde_json::to_string_pretty(value).map_err(|error| CliError::Output(error.into()))?
        }
        Format::Yaml => serde_saphyr::to_string(value)
            .map_err(|error| CliError::Output(io::Error::other(error)))?,
        Format::Table => text(value),
    };
    print(&text)
}

/// Writes `text` and ends the line.
pub(super) fn print(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()).map_err(CliError::Output)
}

/// The lines of a table, without the blanks that fill its last column.
pub(super) fn lines(table: &Table) -> String {
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// `12s`, `5m`, `3h20m`, `2d4h`.
pub(super) fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{}s", seconds % 60),
        (0, ..) => format!("{hours}h{minutes}m"),
        _ => format!("{days}d{hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn a_duration_has_two_units_at_most() {
        assert_eq!(duration(0), "0s");
        assert_eq!(duration(125), "2m5s");
        assert_eq!(duration(12_000), "3h20m");
        assert_eq!(duration(187_200), "2d4h");
    }
}

//! CSV (RFC 4180), with a header, safe to open in a spreadsheet.

use super::ExportError;
use super::record::{Cell, Column, Record};
use std::borrow::Cow;

/// The header.
pub(super) fn header(out: &mut Vec<u8>, columns: &[Column]) -> Result<(), ExportError> {
    write(out, |csv| {
        csv.write_record(columns.iter().map(|column| column.name()))
    })
}

/// Adds a page of records.
pub(super) fn push(out: &mut Vec<u8>, columns: &[Column], records: &[Record]) -> Result<(), ExportError> {
    write(out, |csv| {
        for record in records {
            for column in columns {
                match record.cell(*column) {
                    Cell::Null => csv.write_field("")?,
                    Cell::Number(number) => csv.write_field(number.to_string())?,
                    Cell::Time(text, _) => csv.write_field(text)?,
                    Cell::Text(text) => csv.write_field(harmless(&text).as_bytes())?,
                    Cell::Json(text) => csv.write_field(harmless(text).as_bytes())?,
                    Cell::Flag(flag) => csv.write_field(if flag { "true" } else { "false" })?,
                }
            }
            csv.write_record(None::<&[u8]>)?;
        }
        Ok(())
    })
}

fn write<'a>(
    out: &'a mut Vec<u8>,
    fill: impl FnOnce(&mut csv::Writer<&'a mut Vec<u8>>) -> csv::Result<()>,
) -> Result<(), ExportError> {
    let mut csv = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(out);
    fill(&mut csv).map_err(|error| ExportError::Encode(error.into()))?;
    csv.flush().map_err(|error| ExportError::Encode(error.into()))
}

/// A cell that no spreadsheet takes for a formula: one that begins as a formula does gets an apostrophe before it (OWASP, CSV
/// injection).
fn harmless(text: &str) -> Cow<'_, str> {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn whatever_begins_a_formula_is_made_text_and_all_else_stays() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"] {
            assert_eq!(harmless(formula), format!("'{formula}"));
        }
        for text in ["", "a=1", "{\"a\":1}", "1", "'quoted"] {
            assert_eq!(harmless(text), text);
        }
    }
}

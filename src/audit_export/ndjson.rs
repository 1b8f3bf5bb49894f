//! NDJSON: one JSON object per line. A line is also a line of a payload file (`verify --payloads`).

use super::ExportError;
use super::record::{Cell, Column, Record};
use serde::Serialize;

/// Adds a record's line.
pub(super) fn push(out: &mut Vec<u8>, columns: &[Column], record: &Record) -> Result<(), ExportError> {
    let mut separator = b'{';
    for column in columns {
        // In a payload file the salt stands beside the content that it belongs to.
        if *column == Column::DetailsSalt {
            continue;
        }
        let salt = (*column == Column::Details).then(|| record.cell(Column::DetailsSalt));
        out.push(separator);
        separator = b',';
        out.push(b'"');
        out.extend_from_slice(column.name().as_bytes());
        out.extend_from_slice(b"\":");
        match (record.cell(*column), salt) {
            (Cell::Json(content), Some(Cell::Text(salt))) => {
                out.extend_from_slice(b"{\"salt\":");
                string(out, &salt)?;
                out.extend_from_slice(b",\"content\":");
                string(out, content)?;
                out.push(b'}');
            }
            (Cell::Null, _) => out.extend_from_slice(b"null"),
            (Cell::Number(number), _) => string(out, &number)?,
            (Cell::Time(text, _), _) => string(out, text)?,
            (Cell::Text(text), _) => string(out, &*text)?,
            (Cell::Json(json), _) => out.extend_from_slice(json.as_bytes()),
            (Cell::Flag(flag), _) => string(out, &flag)?,
        }
    }
    out.extend_from_slice(b"}\n");
    Ok(())
}

fn string<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> Result<(), ExportError> {
    serde_json::to_writer(out, value).map_err(|error| ExportError::Encode(error.into()))
}

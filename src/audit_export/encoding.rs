//! The formats of exports, by their names.

use std::str::FromStr;

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// One JSON object per line.
    Ndjson,
    /// RFC 4180, with a header.
    Csv,
    /// Apache Parquet.
    Parquet,
}

impl Encoding {
    /// Every encoding.
    pub const ALL: [Self; 3] = [Self::Ndjson, Self::Csv, Self::Parquet];

    /// Its name, also the end of a file's.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }

    /// Its media type.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }
}

/// A name that is no encoding's.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("must be ndjson, csv or parquet")]
pub struct UnknownEncoding;

impl FromStr for Encoding {
    type Err = UnknownEncoding;

    fn from_str(text: &str) -> Result<Self, UnknownEncoding> {
        let mut all = Self::ALL.into_iter();
        all.find(|encoding| encoding.as_str() == text)
            .ok_or(UnknownEncoding)
    }
}

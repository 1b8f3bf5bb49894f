//! Apache Parquet: row groups of a bounded size, compressed with Snappy.

use super::ExportError;
use super::record::{Cell, Column, Kind, Record};
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// How many records a row group has at the most.
const GROUP_RECORDS: usize = 16_384;

/// How much memory its records take at the most, about.
const GROUP_WEIGHT: usize = 16 << 20;

/// Where the writer writes to, until it is taken away.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A file that is being written.
pub(super) struct File {
    columns: Vec<Column>,
    writer: SerializedFileWriter<Sink>,
    sink: Sink,
    records: Vec<Record>,
    weight: usize,
}

impl File {
    /// A file of these columns.
    pub(super) fn new(columns: Vec<Column>) -> Result<Self, ExportError> {
        let fields = columns
            .iter()
            .map(|column| field(*column).map(Arc::new))
            .collect::<Result<_, _>>()
            .map_err(failed)?;
        let schema = Type::group_type_builder("events")
            .with_fields(fields)
            .build()
            .map_err(failed)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            // Named after the format, not the library's version: the same events make the same bytes.
            .set_created_by("archive-ledger".to_owned())
            .build();
        let sink = Sink::default();
        let writer = SerializedFileWriter::new(sink.clone(), Arc::new(schema), Arc::new(properties));
        Ok(Self {
            columns,
            writer: writer.map_err(failed)?,
            sink,
            records: Vec::new(),
            weight: 0,
        })
    }

    /// Takes records, and gives the bytes that are ready.
    pub(super) fn push(&mut self, records: Vec<Record>) -> Result<Vec<u8>, ExportError> {
        for record in records {
            self.weight += record.weight();
            self.records.push(record);
            if self.records.len() >= GROUP_RECORDS || self.weight >= GROUP_WEIGHT {
                self.end_group()?;
            }
        }
        Ok(self.sink.take())
    }

    /// Writes what is left, and the footer.
    pub(super) fn finish(&mut self) -> Result<Vec<u8>, ExportError> {
        if !self.records.is_empty() {
            self.end_group()?;
        }
        self.writer.finish().map_err(failed)?;
        self.writer.flush().map_err(|error| failed(error.into()))?;
        Ok(self.sink.take())
    }

    fn end_group(&mut self) -> Result<(), ExportError> {
        let mut group = self.writer.next_row_group().map_err(failed)?;
        for column in &self.columns {
            write_column(&mut group, *column, &self.records).map_err(failed)?;
        }
        group.close().map_err(failed)?;
        self.writer.flush().map_err(|error| failed(error.into()))?;
        self.records.clear();
        self.weight = 0;
        Ok(())
    }
}

fn failed(error: ParquetError) -> ExportError {
    ExportError::Encode(error.into())
}

fn field(column: Column) -> Result<Type, ParquetError> {
    let (physical, logical) = match column.kind() {
        Kind::Number => (Physical::INT64, None),
        Kind::Time => (
            Physical::INT64,
            Some(LogicalType::timestamp(true, TimeUnit::MICROS)),
        ),
        Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Kind::Json => (Physical::BYTE_ARRAY, Some(LogicalType::Json)),
        Kind::Flag => (Physical::BOOLEAN, None),
    };
    let repetition = if column.is_optional() {
        Repetition::OPTIONAL
    } else {
        Repetition::REQUIRED
    };
    Type::primitive_type_builder(column.name(), physical)
        .with_repetition(repetition)
        .with_logical_type(logical)
        .build()
}

fn write_column(
    group: &mut SerializedRowGroupWriter<'_, Sink>,
    column: Column,
    records: &[Record],
) -> Result<(), ParquetError> {
    let cells = records.iter().map(|record| record.cell(column));
    match column.kind() {
        Kind::Number | Kind::Time => {
            let values = cells.map(|cell| match cell {
                Cell::Number(number) => i64::try_from(number).ok(),
                Cell::Time(_, micros) => Some(micros),
                Cell::Null | Cell::Text(_) | Cell::Json(_) | Cell::Flag(_) => None,
            });
            write::<Int64Type>(group, column, values)
        }
        Kind::Text | Kind::Json => {
            let values = cells.map(|cell| match cell {
                Cell::Text(text) => Some(ByteArray::from(text.as_bytes().to_vec())),
                Cell::Json(text) => Some(ByteArray::from(text.as_bytes().to_vec())),
                Cell::Null | Cell::Number(_) | Cell::Time(..) | Cell::Flag(_) => None,
            });
            write::<ByteArrayType>(group, column, values)
        }
        Kind::Flag => {
            let values = cells.map(|cell| match cell {
                Cell::Flag(flag) => Some(flag),
                Cell::Null | Cell::Number(_) | Cell::Time(..) | Cell::Text(_) | Cell::Json(_) => None,
            });
            write::<BoolType>(group, column, values)
        }
    }
}

fn write<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Sink>,
    column: Column,
    cells: impl Iterator<Item = Option<T::T>>,
) -> Result<(), ParquetError> {
    let mut levels = Vec::new();
    let mut values = Vec::new();
    for cell in cells {
        levels.push(i16::from(cell.is_some()));
        values.extend(cell);
    }
    let mut writer = group
        .next_column()?
        .ok_or_else(|| ParquetError::General("the schema has fewer columns".to_owned()))?;
    let levels = column.is_optional().then_some(levels.as_slice());
    writer.typed::<T>().write_batch(&values, levels, None)?;
    writer.close()
}

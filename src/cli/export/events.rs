//! `archive-ledger export --format`: the events, as one file and its manifest.

use super::{bar_style, whole};
use crate::Failure;
use archive_ledger::app;
use archive_ledger::audit_export::{self, Encoding, Export, ExportError, Request};
use archive_ledger::config::Config;
use archive_ledger::http::audit::query::filters;
use archive_ledger::store::audit::AuditFilter;
use indicatif::ProgressBar;
use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Standard output, as a file's name.
const STDOUT: &str = "-";

/// Which events, how they are written, and where to.
#[derive(Debug, clap::Args)]
pub(super) struct Events {
    /// Write the events: ndjson, csv or parquet
    #[arg(long, value_name = "FORMAT", group = "what")]
    format: Option<Encoding>,

    /// File to write to; - is standard output
    #[arg(long, value_name = "FILE", requires = "format", default_value = STDOUT)]
    out: PathBuf,

    /// File for the manifest [default: --out and .manifest.json; none beside standard output]
    #[arg(long, value_name = "FILE", requires = "format")]
    manifest: Option<PathBuf>,

    /// Open sealed details (names, reasons, metadata) with the ledger's keyring
    #[arg(long, requires = "format")]
    details: bool,

    /// Only events of this actor; repeatable, as all of these filters but the last four
    #[arg(long, value_name = "ACTOR", requires = "format")]
    actor: Vec<String>,

    /// Only events of this name
    #[arg(long, value_name = "EVENT", requires = "format")]
    action: Vec<String>,

    /// Only events of entities of this type
    #[arg(long, value_name = "TYPE", requires = "format")]
    entity_type: Vec<String>,

    /// Only events of entities of this id
    #[arg(long, value_name = "ID", requires = "format")]
    entity_id: Vec<String>,

    /// Only events of this outcome: allowed, as every event of the log is
    #[arg(long, value_name = "OUTCOME", requires = "format")]
    outcome: Vec<String>,

    /// Only events of this request
    #[arg(long, value_name = "ID", requires = "format")]
    request_id: Vec<String>,

    /// Only events of requests from this address
    #[arg(long, value_name = "ADDRESS", requires = "format")]
    ip: Vec<String>,

    /// Only events recorded at this time or later (RFC 3339)
    #[arg(long, value_name = "TIME", requires = "format")]
    from: Option<String>,

    /// Only events recorded before this time (RFC 3339)
    #[arg(long, value_name = "TIME", requires = "format")]
    to: Option<String>,

    /// Only events at this position or behind it
    #[arg(long, value_name = "POSITION", requires = "format")]
    pos_from: Option<String>,

    /// Only events at this position or before it [default: the last one that is signed]
    #[arg(long, value_name = "POSITION", requires = "format")]
    pos_to: Option<String>,
}

impl Events {
    /// The filter, by the rules of the HTTP route's query.
    fn filter(&self) -> Result<AuditFilter, Failure> {
        let lists = [
            ("actor", &self.actor),
            ("action", &self.action),
            ("entity_type", &self.entity_type),
            ("entity_id", &self.entity_id),
            ("outcome", &self.outcome),
            ("request_id", &self.request_id),
            ("ip", &self.ip),
        ];
        let singles = [
            ("from", &self.from),
            ("to", &self.to),
            ("pos_from", &self.pos_from),
            ("pos_to", &self.pos_to),
        ];
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for (name, values) in lists {
            query.extend_pairs(values.iter().map(|value| (name, value)));
        }
        for (name, value) in singles {
            query.extend_pairs(value.iter().map(|value| (name, value)));
        }
        filters(Some(&query.finish()), |_, _| Ok(false)).map_err(|error| {
            let described = error.describe(Uuid::nil());
            let key = described.details.as_ref().and_then(|details| details.get("key"));
            let key = key
                .and_then(|key| key.as_str())
                .unwrap_or_default()
                .replace('_', "-");
            let error: Box<dyn Error> = described.text.to_string().into();
            Failure::usage(&*error).in_context(&format!("--{key}"))
        })
    }
}

/// Exports, and says what.
///
/// # Errors
/// A [`Failure`].
pub(super) async fn run(config: &Config, arguments: Events) -> Result<(), Failure> {
    let Some(encoding) = arguments.format else {
        return Err(Failure::usage(&ExportError::Unsigned));
    };
    let request = Request {
        encoding,
        filter: arguments.filter()?,
        details: arguments.details,
    };
    let source = app::export_source(config, request.details).await;
    let export = Export::begin(source.map_err(|error| Failure::usage(&error))?, request).await?;
    if arguments.out == Path::new(STDOUT) {
        let manifest = write(export, std::io::stdout().lock(), &arguments.out).await?;
        if let Some(path) = &arguments.manifest {
            keep(path, &manifest)?;
        }
        return whole(manifest.unreadable, &manifest.unreadable_positions, "position");
    }
    let manifest_file = arguments.manifest.clone().unwrap_or_else(|| {
        let mut name = arguments.out.clone().into_os_string();
        name.push(".manifest.json");
        PathBuf::from(name)
    });
    for (option, path) in [("--out", &arguments.out), ("--manifest", &manifest_file)] {
        replaceable(path).map_err(|error| Failure::usage(&error).in_context(option))?;
    }
    // Under its own name only once it is whole.
    let mut part = arguments.out.clone().into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    let failed = |error: &std::io::Error| Failure::runtime(error).in_context(&part.display().to_string());
    let file = File::create(&part).map_err(|error| failed(&error))?;
    let manifest = write(export, &file, &part).await?;
    file.sync_all().map_err(|error| failed(&error))?;
    keep(&manifest_file, &manifest)?;
    std::fs::rename(&part, &arguments.out).map_err(|error| failed(&error))?;
    writeln!(
        std::io::stdout(),
        "exported {} events up to position {} to {} (manifest: {})",
        manifest.count,
        manifest.pos_to,
        arguments.out.display(),
        manifest_file.display()
    )
    .map_err(|error| Failure::runtime(&error).in_context("cannot print the report"))?;
    whole(manifest.unreadable, &manifest.unreadable_positions, "position")
}

async fn write(mut export: Export, to: impl Write, name: &Path) -> Result<audit_export::Manifest, Failure> {
    let bar = ProgressBar::new(export.pos_to()).with_style(bar_style("exporting"));
    let mut to = BufWriter::new(to);
    let failed = |error: &std::io::Error| Failure::runtime(error).in_context(&name.display().to_string());
    while let Some(chunk) = export.next().await? {
        to.write_all(&chunk).map_err(|error| failed(&error))?;
        bar.set_position(export.progress().1);
    }
    to.flush().map_err(|error| failed(&error))?;
    bar.finish_and_clear();
    Ok(export.manifest().await?)
}

/// Refuses what an export must not be put in the place of: a device, a pipe, a folder, a link to whatever.
fn replaceable(path: &Path) -> std::io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(there) if !there.is_file() => Err(std::io::Error::other(format!(
            "{} is no regular file, and an export would take its place",
            path.display()
        ))),
        // What else is wrong with it, its writing finds out.
        Ok(_) | Err(_) => Ok(()),
    }
}

fn keep(path: &Path, manifest: &audit_export::Manifest) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(manifest).map_err(|error| Failure::runtime(&error))?;
    text.push('\n');
    std::fs::write(path, text)
        .map_err(|error| Failure::runtime(&error).in_context(&path.display().to_string()))
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        match &error {
            ExportError::NoKeyring => Self::usage(&error).in_context("--keyring-file"),
            ExportError::NotCovered { .. } => Self::usage(&error).in_context("--pos-to"),
            ExportError::Store(_)
            | ExportError::Proof(_)
            | ExportError::Unsigned
            | ExportError::Keyring(_)
            | ExportError::Row(_)
            | ExportError::Unreadable(_)
            | ExportError::Encode(_)
            | ExportError::Reader(_) => Self::runtime(&error),
        }
    }
}

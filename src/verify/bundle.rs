//! Evidence of one entity, checked offline with nothing but the verifier key.

use super::Finding;
use super::payloads::{disclosed_details, disclosed_payload};
use crate::foreign_text::shown;
use crate::merkle::checkpoint::{Checkpoint, statement_hash};
use crate::merkle::entry_view::EntryView;
use crate::merkle::leaf_hash;
use crate::merkle::note::VerifierKey;
use crate::merkle::proofs::verify_inclusion;
use crate::proofs::evidence::{Bundle, Evidence, EvidenceStatement, FORMAT};
use crate::proofs::fork_statement::Statement;
use crate::store::Hash;
use archive_ledger_domain::{EntityKey, EntityType};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::str::FromStr;

/// What was found sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleReport {
    /// The signed checkpoint.
    pub checkpoint: Checkpoint,
    /// Each event, in words.
    pub events: Vec<String>,
    /// Whether the ledger itself says which entity it is, and that no event is missing.
    pub complete: bool,
}

/// Checks a bundle: that each entry is in the signed log, that the entries are one stream from its first event on without a
/// gap, and that what is disclosed is what they commit to.
///
/// That nothing happened after the last event up to the checkpoint, and that the stream is that of the entity that the bundle names,
/// the ledger states with its signature. A bundle without the statement shows neither.
///
/// # Errors
/// [`Finding::Tampered`].
pub fn check_bundle(bundle: &Bundle, key: &VerifierKey) -> Result<BundleReport, Finding> {
    if bundle.format != FORMAT {
        return Err(Finding::Incomplete(format!(
            "the bundle is not of format {FORMAT}"
        )));
    }
    let named = EntityType::from_str(&bundle.entity_type);
    let named = named.is_ok_and(|entity_type| EntityKey::new(entity_type, &bundle.id).is_ok());
    if !named {
        return Err(Finding::tampered("the bundle names no entity"));
    }
    if bundle.events.is_empty() {
        return Err(Finding::tampered("the bundle has no event"));
    }
    let checkpoint = Checkpoint::open(&bundle.checkpoint, key)
        .map_err(|error| Finding::tampered(format!("the checkpoint is not to be trusted: {error}")))?;
    if checkpoint.fork != bundle.fork.as_deref().map(statement_hash) {
        return Err(Finding::tampered(
            "the fork statement is not the one that the checkpoint commits to",
        ));
    }
    if let Some(statement) = &bundle.fork {
        Statement::open(statement).map_err(Finding::tampered)?;
    }
    let mut stream: Option<Hash> = None;
    let mut previous: Option<Hash> = None;
    let mut events = Vec::new();
    for (rev, evidence) in (1..).zip(&bundle.events) {
        let entry = evidence.entry.as_bytes();
        let view = EntryView::parse(entry).map_err(|error| Finding::tampered(error.to_string()))?;
        let bad = |what: &str| Finding::at(view.pos, what);
        let leaf = leaf_hash(entry);
        if view.rev != rev || view.sp != previous || *stream.get_or_insert(view.sid) != view.sid {
            return Err(bad("it does not follow the stream's previous entry"));
        }
        let proof = evidence
            .proof
            .iter()
            .map(|hash| decode(hash))
            .collect::<Option<Vec<_>>>();
        let proof = proof.ok_or_else(|| bad("its inclusion proof is malformed"))?;
        if view.pos == 0 || !verify_inclusion(&leaf, view.pos - 1, checkpoint.size, &proof, &checkpoint.root)
        {
            return Err(bad("it is not in the signed log"));
        }
        disclosed(evidence, &view).map_err(|what| Finding::at(view.pos, what))?;
        previous = Some(leaf);
        events.push(told(evidence, &view));
    }
    let purged = bundle
        .events
        .iter()
        .any(|evidence| EntryView::parse(evidence.entry.as_bytes()).is_ok_and(|view| view.et == "purged"));
    let withheld = bundle
        .events
        .iter()
        .any(|evidence| evidence.erased != (purged && evidence.erased));
    let kept = bundle
        .events
        .iter()
        .any(|evidence| purged && evidence.details.is_some());
    if withheld || kept {
        return Err(Finding::tampered(
            "details are erased exactly when their entity is purged, and the bundle says otherwise",
        ));
    }
    let complete = match (&bundle.statement, stream, previous) {
        (Some(statement), Some(stream), Some(last)) => {
            stated(bundle, statement, key, &checkpoint, (&stream, &last))?;
            true
        }
        (Some(_) | None, _, _) => false,
    };
    Ok(BundleReport {
        checkpoint,
        events,
        complete,
    })
}

/// Whether the ledger states what the bundle holds.
fn stated(
    bundle: &Bundle,
    statement: &str,
    key: &VerifierKey,
    checkpoint: &Checkpoint,
    (stream, last): (&Hash, &Hash),
) -> Result<(), Finding> {
    let said = key.open(statement).map_err(|error| {
        Finding::tampered(format!("the ledger's statement is not to be trusted: {error}"))
    })?;
    let expected = EvidenceStatement {
        entity_type: &bundle.entity_type,
        id: &bundle.id,
        stream,
        size: checkpoint.size,
        root: &checkpoint.root,
        events: bundle.events.len(),
        last,
        details: bundle.details(),
    }
    .text();
    if said == expected {
        return Ok(());
    }
    let lines = said.lines().zip(expected.lines());
    let differs = lines.into_iter().find(|(said, expected)| said != expected);
    let (said, held) = differs.unwrap_or(("something else", "this"));
    Err(Finding::tampered(format!(
        "the ledger states {:?}, and the bundle holds {:?}",
        shown(said),
        shown(held)
    )))
}

fn disclosed(evidence: &Evidence, view: &EntryView<'_>) -> Result<(), String> {
    let shown = &evidence.payload;
    if disclosed_payload(&shown.salt, &shown.payload, &shown.metadata, &shown.actor)? != view.p {
        return Err("the disclosed payload is not what the entry commits to".into());
    }
    match (&evidence.details, &view.c, evidence.erased) {
        (Some(details), commitment, false) => {
            if Some(disclosed_details(details)?) != *commitment {
                return Err("the disclosed details are not what the entry commits to".into());
            }
            Ok(())
        }
        (None, Some(_), true) if evidence.unreadable => {
            Err("it is marked as erased and as unreadable".into())
        }
        (None, Some(_), true) => Ok(()),
        // Only the ledger's statement tells whether it is so.
        (None, Some(_), false) if evidence.unreadable => Ok(()),
        (None, Some(_), false) => Err("its details are withheld and not marked as erased".into()),
        (None, None, false) if !evidence.unreadable => Ok(()),
        (Some(_), _, true) | (None, None, true | false) => {
            Err("it is marked as erased or unreadable, and there is nothing that could be".into())
        }
    }
}

fn told(evidence: &Evidence, view: &EntryView<'_>) -> String {
    let details = if evidence.unreadable {
        ", its details could not be opened"
    } else if evidence.erased {
        ", its details are erased"
    } else if evidence.details.is_some() {
        ", its details are disclosed"
    } else {
        ""
    };
    format!(
        "position {}: {} at {} by {}{details}",
        view.pos,
        view.et,
        view.at,
        shown(&evidence.payload.actor)
    )
}

fn decode(hash: &str) -> Option<Hash> {
    STANDARD.decode(hash).ok()?.try_into().ok()
}

"""A backup's life through the generated Python client: the arguments are the service, a token, an id and a receiver's URL."""

import asyncio
import sys
import time
from datetime import datetime, timezone

from archive_ledger_client import AuthenticatedClient
from archive_ledger_client.api.archived import (
    archived_summary,
    entity_history,
    get_archived,
    list_archived,
    purge_archived,
    restore_archived,
    soft_delete,
)
from archive_ledger_client.api.audit import audit_events
from archive_ledger_client.api.callbacks import get_callback, list_callbacks
from archive_ledger_client.models import (
    ArchivedItem,
    ArchivedPage,
    AuditAction,
    AuditPage,
    DeliveryDetail,
    DeliveryPage,
    DeliveryState,
    Diff,
    Entity,
    EntityState,
    EntityType,
    Error,
    EventName,
    History,
    Message,
    PurgeRequest,
    SoftDeleteRequest,
    SoftDeleteRequestMetadataType0,
)

service, token, entity, receiver = sys.argv[1:]
ledger = AuthenticatedClient(service, token, raise_on_unexpected_status=True)
BACKUPS = EntityType.BACKUPS


def told(answer, kind):
    assert isinstance(answer, kind), answer
    return answer


def delete():
    metadata = SoftDeleteRequestMetadataType0.from_dict({"size": 3456, "tags": ["a", None], "of": {"region": "eu"}})
    body = SoftDeleteRequest(
        id=entity, name="nightly", metadata=metadata, reason="closed", deleted_at=datetime(2026, 3, 4, tzinfo=timezone.utc)
    )
    item = told(soft_delete.sync(BACKUPS, client=ledger, body=body, idempotency_key=f"d-{time.time_ns()}"), ArchivedItem)
    assert (item.id, item.type_, item.name) == (entity, BACKUPS, "nightly")
    assert item.deleted_at == datetime(2026, 3, 4, tzinfo=timezone.utc)
    assert item.metadata.to_dict() == metadata.to_dict()


# Soft-delete, list.
delete()
page = told(list_archived.sync(BACKUPS, client=ledger, limit=1), ArchivedPage)
seen = []
while True:
    seen += [item.id for item in page.items]
    if not page.has_more:
        break
    page = told(list_archived.sync(BACKUPS, client=ledger, limit=1, cursor=page.next_cursor), ArchivedPage)
assert entity in seen and len(seen) >= 1, seen
assert archived_summary.sync(client=ledger)["backups"] >= 1
found = told(get_archived.sync(BACKUPS, entity, client=ledger), Entity)
assert found.state == EntityState.ARCHIVED and found.version == 1

# Restore, and what is refused.
told(restore_archived.sync(BACKUPS, entity, client=ledger), Message)
again = restore_archived.sync_detailed(BACKUPS, entity, client=ledger)
assert again.status_code == 409 and told(again.parsed, Error).error.id == "alreadyExists"
delete()
stale = purge_archived.sync_detailed(BACKUPS, entity, client=ledger, if_match='"1"')
assert stale.status_code == 412 and told(stale.parsed, Error).error.id == "preconditionFailed"

# Purge, history.
told(purge_archived.sync(BACKUPS, entity, client=ledger, body=PurgeRequest(deleted_callback=receiver)), Message)
history = told(asyncio.run(entity_history.asyncio(BACKUPS, entity, client=ledger)), History)
events = [item.event for item in history.items]
expected = [EventName.SOFT_DELETED, EventName.RESTORED, EventName.SOFT_DELETED, EventName.PURGE_REQUESTED, EventName.PURGED]
assert events == expected, events
assert all(item.erased for item in history.items if item.event == EventName.SOFT_DELETED)
diff = told(entity_history.sync(BACKUPS, entity, client=ledger, diff="1..2"), Diff)
assert "state" in [change.field for change in diff.changes]

# Callbacks.
deadline = time.monotonic() + 60
while True:
    answer = list_callbacks.sync(client=ledger, entity_type=BACKUPS, entity_id=entity)
    deliveries = told(answer, DeliveryPage).items
    if deliveries and deliveries[0].state == DeliveryState.DELIVERED:
        break
    assert time.monotonic() < deadline, deliveries
    time.sleep(0.05)
detail = told(get_callback.sync(deliveries[0].id, client=ledger), DeliveryDetail)
assert [attempt.status for attempt in detail.attempts] == [200]

# Audit.
lines = told(audit_events.sync(client=ledger, entity_id=[entity], action=[AuditAction.PURGED]), AuditPage).items
assert [line.entity_id for line in lines] == [entity]
print("told")

"""Contains all the data models used in inputs/outputs"""

from .archive import Archive
from .archive_state import ArchiveState
from .archived_item import ArchivedItem
from .archived_item_metadata import ArchivedItemMetadata
from .archived_page import ArchivedPage
from .archived_summary_response_200 import ArchivedSummaryResponse200
from .as_of import AsOf
from .asyncapi_response_200 import AsyncapiResponse200
from .attempt_outcome import AttemptOutcome
from .audit_action import AuditAction
from .audit_item import AuditItem
from .audit_item_facts_type_0 import AuditItemFactsType0
from .audit_outcome import AuditOutcome
from .audit_page import AuditPage
from .audit_snapshot import AuditSnapshot
from .bus_state import BusState
from .circuit_scope import CircuitScope
from .circuit_state import CircuitState
from .clock_status import ClockStatus
from .consistency_proof import ConsistencyProof
from .delete_archive_request import DeleteArchiveRequest
from .delivery import Delivery
from .delivery_attempt import DeliveryAttempt
from .delivery_detail import DeliveryDetail
from .delivery_page import DeliveryPage
from .delivery_state import DeliveryState
from .diff import Diff
from .diff_change import DiffChange
from .diff_side import DiffSide
from .entity import Entity
from .entity_evidence_response_200 import EntityEvidenceResponse200
from .entity_metadata_type_0 import EntityMetadataType0
from .entity_state import EntityState
from .entity_type import EntityType
from .error import Error
from .error_json import ErrorJson
from .error_json_ctx import ErrorJsonCtx
from .error_json_details import ErrorJsonDetails
from .event_name import EventName
from .event_schema_response_200 import EventSchemaResponse200
from .export_format import ExportFormat
from .export_manifest import ExportManifest
from .force_purge_request import ForcePurgeRequest
from .forced_purge import ForcedPurge
from .health import Health
from .history import History
from .history_event import HistoryEvent
from .history_event_details_type_0 import HistoryEventDetailsType0
from .history_event_facts import HistoryEventFacts
from .key_set_status import KeySetStatus
from .liveness import Liveness
from .message import Message
from .obligation_state import ObligationState
from .owed_purge import OwedPurge
from .owed_purge_page import OwedPurgePage
from .owed_storage import OwedStorage
from .part_status import PartStatus
from .purge_filter import PurgeFilter
from .purge_request import PurgeRequest
from .purge_so_far import PurgeSoFar
from .purge_state import PurgeState
from .readiness import Readiness
from .readiness_status import ReadinessStatus
from .receiver_circuit import ReceiverCircuit
from .register_archive_request import RegisterArchiveRequest
from .registered_archive import RegisteredArchive
from .replay_filter import ReplayFilter
from .replay_request import ReplayRequest
from .replayable_state import ReplayableState
from .replayed_deliveries import ReplayedDeliveries
from .replayed_delivery import ReplayedDelivery
from .retried_purge import RetriedPurge
from .soft_delete_request import SoftDeleteRequest
from .soft_delete_request_metadata_type_0 import SoftDeleteRequestMetadataType0
from .sort_order import SortOrder
from .storage_sharer import StorageSharer
from .task_row import TaskRow
from .task_status import TaskStatus
from .typed_parent import TypedParent

__all__ = (
    "Archive",
    "ArchivedItem",
    "ArchivedItemMetadata",
    "ArchivedPage",
    "ArchivedSummaryResponse200",
    "ArchiveState",
    "AsOf",
    "AsyncapiResponse200",
    "AttemptOutcome",
    "AuditAction",
    "AuditItem",
    "AuditItemFactsType0",
    "AuditOutcome",
    "AuditPage",
    "AuditSnapshot",
    "BusState",
    "CircuitScope",
    "CircuitState",
    "ClockStatus",
    "ConsistencyProof",
    "DeleteArchiveRequest",
    "Delivery",
    "DeliveryAttempt",
    "DeliveryDetail",
    "DeliveryPage",
    "DeliveryState",
    "Diff",
    "DiffChange",
    "DiffSide",
    "Entity",
    "EntityEvidenceResponse200",
    "EntityMetadataType0",
    "EntityState",
    "EntityType",
    "Error",
    "ErrorJson",
    "ErrorJsonCtx",
    "ErrorJsonDetails",
    "EventName",
    "EventSchemaResponse200",
    "ExportFormat",
    "ExportManifest",
    "ForcedPurge",
    "ForcePurgeRequest",
    "Health",
    "History",
    "HistoryEvent",
    "HistoryEventDetailsType0",
    "HistoryEventFacts",
    "KeySetStatus",
    "Liveness",
    "Message",
    "ObligationState",
    "OwedPurge",
    "OwedPurgePage",
    "OwedStorage",
    "PartStatus",
    "PurgeFilter",
    "PurgeRequest",
    "PurgeSoFar",
    "PurgeState",
    "Readiness",
    "ReadinessStatus",
    "ReceiverCircuit",
    "RegisterArchiveRequest",
    "RegisteredArchive",
    "ReplayableState",
    "ReplayedDeliveries",
    "ReplayedDelivery",
    "ReplayFilter",
    "ReplayRequest",
    "RetriedPurge",
    "SoftDeleteRequest",
    "SoftDeleteRequestMetadataType0",
    "SortOrder",
    "StorageSharer",
    "TaskRow",
    "TaskStatus",
    "TypedParent",
)

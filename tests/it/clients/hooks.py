"""What the description cannot say: rules that bind one value to another, or to what is recorded.

A request that is to be a good one keeps them here, so that the service has no reason to refuse it; everything else is sent as it was made.
"""

import ipaddress
import re
import uuid

import schemathesis
from schemathesis import GenerationMode

TAGS = re.compile(r'^(\*|(W/)?"[!#-~]*"(, ?(W/)?"[!#-~]*")*)$')
IDS = re.compile(r"^[A-Za-z0-9_-]{1,128}$")


def an_id(entity_type, text):
    """An id of this type: archives have any, everything else has UUIDs."""
    if entity_type == "archives":
        return text if IDS.match(str(text)) else "archive-1"
    try:
        return str(uuid.UUID(str(text)))
    except ValueError:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, str(text)))


def pair_entity(values):
    """A filter names an entity by both its type and its id."""
    if values.get("entity_type") is None or values.get("entity_id") is None:
        values.pop("entity_type", None)
        values.pop("entity_id", None)
    else:
        values["entity_id"] = an_id(values["entity_type"], values["entity_id"])


def in_order(values, low, high):
    if values.get(low) is not None and values.get(high) is not None:
        values.pop(high)


def query(operation, values):
    # Only the service makes cursors, and what it covers grows with the log.
    values.pop("cursor", None)
    in_order(values, "from", "to")
    in_order(values, "pos_from", "pos_to")
    if operation in ("exportEvents", "exportManifest"):
        values.pop("pos_to", None)
        values.pop("pos_from", None)
    if operation == "ledgerConsistency":
        values["from"] = 0
        values.pop("to", None)
    if operation == "listCallbacks":
        pair_entity(values)
    if operation in ("auditEvents", "exportEvents", "exportManifest"):
        types = values.get("entity_type") or ["archives"]
        if values.get("entity_id"):
            wanted = types if isinstance(types, list) else [types]
            ids = values["entity_id"] if isinstance(values["entity_id"], list) else [values["entity_id"]]
            values["entity_id"] = [an_id(wanted[0], one) for one in ids]
        if values.get("ip"):
            addresses = values["ip"] if isinstance(values["ip"], list) else [values["ip"]]
            values["ip"] = [one if is_address(one) else "192.0.2.7" for one in addresses]
    if operation == "getArchived":
        values["as_of"] = "0"
    if operation == "entityHistory":
        values.pop("diff", None)


def is_address(text):
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in str(text)


def kept(value):
    """What the service can give back as it was given: no U+0000, and no integer beyond 64 bits."""
    if isinstance(value, dict):
        return {kept(key): kept(one) for key, one in value.items()}
    if isinstance(value, list):
        return [kept(one) for one in value]
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, int) and not isinstance(value, bool):
        return max(-(2**63), min(value, 2**63 - 1))
    return value


def body(operation, path, value):
    if not isinstance(value, dict):
        return
    # Whatever is stored lies below a storage root, of which there is none; a callback goes to an address that is allowed.
    value.pop("storage", None)
    value.pop("deletedCallback", None)
    if operation == "softDelete":
        value["id"] = an_id(path.get("entity_type"), value.get("id"))
        value.pop("parent", None)
        value.pop("deleted_at", None)
    if operation == "replayCallbacks":
        value.pop("cursor", None)
        filters = value.get("filter")
        if isinstance(filters, dict):
            pair_entity(filters)


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.meta is None or case.meta.generation.mode != GenerationMode.POSITIVE:
        return
    operation = case.operation.definition.raw.get("operationId")
    path = case.path_parameters or {}
    if "entity_type" in path and "id" in path:
        path["id"] = an_id(path["entity_type"], path["id"])
    query(operation, case.query if case.query is not None else {})
    if isinstance(case.body, dict):
        case.body = kept(case.body)
    body(operation, path, case.body)
    headers = case.headers or {}
    for name in ("If-Match", "If-None-Match"):
        if name in headers and not TAGS.match(str(headers[name])):
            del headers[name]

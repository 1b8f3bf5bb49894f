from enum import StrEnum


class EventName(StrEnum):
    PURGED = "purged"
    PURGE_FAILED = "purge_failed"
    PURGE_FORCED = "purge_forced"
    PURGE_REQUESTED = "purge_requested"
    REGISTERED = "registered"
    RESTORED = "restored"
    SOFT_DELETED = "soft_deleted"

    def __str__(self) -> str:
        return str(self.value)

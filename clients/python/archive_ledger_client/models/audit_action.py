from enum import StrEnum


class AuditAction(StrEnum):
    ACCEPT_CLOCK = "accept_clock"
    AUDIT_EXPORT = "audit_export"
    AUDIT_READ = "audit_read"
    CALLBACK_REPLAY = "callback_replay"
    OTHER = "other"
    PURGED = "purged"
    PURGE_FAILED = "purge_failed"
    PURGE_FORCED = "purge_forced"
    PURGE_REQUESTED = "purge_requested"
    PURGE_RETRY = "purge_retry"
    READ = "read"
    REGISTERED = "registered"
    RESTORED = "restored"
    SOFT_DELETED = "soft_deleted"

    def __str__(self) -> str:
        return str(self.value)

from enum import StrEnum


class EntityState(StrEnum):
    ARCHIVED = "archived"
    LIVE = "live"
    PURGED = "purged"
    PURGE_FAILED = "purge_failed"
    PURGING = "purging"
    UNKNOWN = "unknown"

    def __str__(self) -> str:
        return str(self.value)

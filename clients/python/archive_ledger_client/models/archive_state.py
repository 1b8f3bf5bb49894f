from enum import StrEnum


class ArchiveState(StrEnum):
    ARCHIVED = "archived"
    PRESERVED = "preserved"
    PURGE_FAILED = "purge_failed"
    PURGING = "purging"

    def __str__(self) -> str:
        return str(self.value)

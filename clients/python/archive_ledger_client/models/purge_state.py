from enum import StrEnum


class PurgeState(StrEnum):
    PURGE_FAILED = "purge_failed"
    PURGING = "purging"

    def __str__(self) -> str:
        return str(self.value)

from enum import StrEnum


class PurgeFilter(StrEnum):
    ALL = "all"
    FAILED = "failed"
    PURGING = "purging"

    def __str__(self) -> str:
        return str(self.value)

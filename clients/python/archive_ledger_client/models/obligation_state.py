from enum import StrEnum


class ObligationState(StrEnum):
    DONE = "done"
    FAILED = "failed"
    OWED = "owed"

    def __str__(self) -> str:
        return str(self.value)

from enum import StrEnum


class ReplayableState(StrEnum):
    DEAD = "dead"
    DELIVERED = "delivered"

    def __str__(self) -> str:
        return str(self.value)

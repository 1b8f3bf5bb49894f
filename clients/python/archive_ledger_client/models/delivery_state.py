from enum import StrEnum


class DeliveryState(StrEnum):
    DEAD = "dead"
    DELIVERED = "delivered"
    DUE = "due"
    SUPERSEDED = "superseded"

    def __str__(self) -> str:
        return str(self.value)

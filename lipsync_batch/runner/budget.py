"""Law 5: what the batch may cost, over all its runs, in integer micro-USD. Pure."""

from __future__ import annotations


class Budget:
    """What is spent or reserved, against what may be. Without a limit everything fits."""

    def __init__(self, limit: int | None, spent: int, *, dearer: float = 1.0) -> None:
        """`dearer`: how many times its estimate a pair may cost, as the account's charges have shown."""
        self.limit = limit
        self.spent = spent
        self.dearer = dearer

    def fits(self, reserve: int) -> bool:
        return self.limit is None or self.spent + reserve <= self.limit

    def reserve(self, amount: int) -> None:
        """A submit is about to go out that may cost so much."""
        self.spent += amount

    def quoted(self, reserve: int, quote: int | None) -> None:
        """The provider named its price: the larger of the two counts."""
        self.spent += max(0, (quote or 0) - reserve)

    def release(self, reserve: int) -> None:
        """Nothing was taken, or the provider gave it up: nothing is charged."""
        self.spent -= reserve

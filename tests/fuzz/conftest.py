"""The sizes of the stories are those of the mutations here."""

from tests.whole.conftest import sizes

__all__ = ["sizes"]

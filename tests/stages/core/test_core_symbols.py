"""The phone inventory: its order is the embedding tables', its digest is in every checkpoint."""

import pytest

from stages.core import symbols


def test_symbol_table():
    assert symbols.SYMBOLS[:3] == ("<pad>", "pau", "aa")
    assert symbols.ids(["pau", "aa", "zh"]) == [1, 2, len(symbols.SYMBOLS) - 1]
    with pytest.raises(ValueError, match="'AH0' is not a phone; did you mean 'ah'"):
        symbols.ids(["AH0"])
    assert symbols.DIGEST == "a770fdcc52c6ccdb3087500d17428062508add8bc748e8d92e2cfa57a433ff3b"

"""C identifiers: made from any text, unlike each other, and no words that C, its headers or this back end use."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

WORDS = """
auto break case char const continue default do double else enum extern float for goto if inline int long
register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while
asm main bool true false new delete class this template namespace private public protected virtual operator try
catch throw using friend mutable explicit export typename and or not xor bitand bitor compl FLASH HALF ALONE READ_byte
READ_word READ_dword READ_qword PROGMEM NULL EOF errno stdin stdout stderr INPUTS OUTPUTS CALL
"""
RESERVED = frozenset(WORDS.split())
_SLOT = re.compile(r"[sv]\d+")


@dataclass(slots=True, kw_only=True)
class Names:
    """Names given so far."""

    taken: set[str] = field(default_factory=set)

    def of(self, text: str) -> str:
        """A fresh identifier like `text`."""
        base = re.sub(r"\W", "_", text, flags=re.ASCII).strip("_") or "x"
        base = base if base[0].isalpha() else f"n{base}"
        if base in RESERVED or _SLOT.fullmatch(base) or re.fullmatch(r"u?int\w*_t", base):
            base += "_"
        name, number = base, 2
        while name in self.taken:
            name, number = f"{base}_{number}", number + 1
        self.taken.add(name)
        return name

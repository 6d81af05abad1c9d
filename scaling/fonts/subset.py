"""Makes the two fonts of the figures from Inter's variable font: `python subset.py Inter[opsz,wght].ttf` (fonttools)."""

import sys
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont
from fontTools.varLib import instancer

KEPT = [
    (0x20, 0x7E), (0xA0, 0x17F),  # Latin
    (0x391, 0x3C9),  # Greek
    (0x2010, 0x2026), (0x2030, 0x2033), (0x2039, 0x203A), (0x202F, 0x202F), (0x2044, 0x2044),  # punctuation
    (0x2070, 0x2094),  # superscripts and subscripts
    (0x2190, 0x2193), (0x2202, 0x2202), (0x2206, 0x2206), (0x2211, 0x2212), (0x2215, 0x2215), (0x2219, 0x221A),
    (0x221D, 0x221E), (0x2248, 0x2248), (0x2260, 0x2265), (0x210F, 0x210F), (0x2113, 0x2113), (0xFFFD, 0xFFFD),
]

for name, weight in (("regular", 400), ("semibold", 600)):
    font = instancer.instantiateVariableFont(TTFont(sys.argv[1]), {"wght": weight, "opsz": 14})
    options = subset.Options(hinting=False, layout_features=[], name_IDs=[0, 1, 2, 13, 14], notdef_outline=True)
    options.drop_tables += ["GPOS", "GSUB", "GDEF", "STAT", "DSIG", "MVAR", "HVAR", "avar", "fvar", "gvar"]
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=[code for first, last in KEPT for code in range(first, last + 1)])
    cutter.subset(font)
    font.save(Path(__file__).parent / f"inter-{name}.ttf")

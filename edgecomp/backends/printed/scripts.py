"""The portfolio of ABC scripts: none is best everywhere, areas swing by 30 % and more between them."""

from __future__ import annotations

from edgecomp.backends.printed.slices import LARGE

C2RS = (
    "balance -l; resub -K 6 -l; rewrite -l; resub -K 6 -N 2 -l; refactor -l; resub -K 8 -l; balance -l; "
    "resub -K 8 -N 2 -l; rewrite -l; resub -K 10 -l; rewrite -z -l; resub -K 10 -N 2 -l; balance -l; resub -K 12 -l; "
    "refactor -z -l; resub -K 12 -N 2 -l; rewrite -z -l; balance -l"
)
RESYN2 = "balance; rewrite; refactor; balance; rewrite; rewrite -z; balance; refactor -z; rewrite -z; balance"
COARSE = "dch; if -a -K 4; mfs2 -a -e; strash"
MFS3 = "mfs3 -a -e -I 4 -O 2 -L 1 -H 8"
DEEP = "dch; if -a -K 6; mfs2 -a -e -W 4 -M 1000; strash"
DON = "dch; if -a -K 6; mfs2 -a -e -W 6 -M 0 -F 100 -D 0; strash; dch; if -a -K 4; mfs2 -a -e; strash; dc2"

QUICK = f"strash; {C2RS}; dch; amap; {MFS3}"
LIGHT = "strash; dc2; amap"  # within a percent of QUICK on a perceptron of 38,000 gates, in a fraction of its time

PORTFOLIO: tuple[str, ...] = (
    QUICK,
    f"strash; {COARSE}; {C2RS}; dch; amap; {MFS3}",
    f"strash; {C2RS}; {COARSE}; {DEEP}; {C2RS}; dch; amap; {MFS3}; strash; {C2RS}; dch; amap; {MFS3}",
    f"strash; {DON}; {DON}; {DON}; {C2RS}; dch; map -a; {MFS3}; strash; dch; amap; {MFS3}",
    f"strash; ifraig; scorr; dc2; dc2; dc2; dch; amap; {MFS3}",
    f"strash; {RESYN2}; {RESYN2}; {C2RS}; {C2RS}; dch; amap -F 5 -A 20; {MFS3}",
    f"strash; {C2RS}; &get -n; &syn3; &syn3; &dch; &put; {C2RS}; dch; amap; {MFS3}",
    f"strash; dch; map -B 0.9 -a; topo; {MFS3}; strash; {C2RS}; dch; map -B 0.9 -a; {MFS3}",
)

DEEP_LIMITS = ((1500, 1, (0,)), (500, 10, (0, 1)))  # most gates, steps without improvement, seeds: under a minute each


def deepest(steps: int, seed: int) -> str:
    return f"strash; {C2RS}; &get -n; &deepsyn -I 1 -J {steps} -S {seed}; &put; {C2RS}; dch; amap; {MFS3}"


def quick(gates: int) -> tuple[str, ...]:
    """The fastest scripts for a circuit of so many gates."""
    return (LIGHT,) if gates > LARGE else PORTFOLIO[:2]


def portfolio(gates: int) -> tuple[str, ...]:
    """The scripts for a circuit of so many gates, the quick ones first. None looks at a clock."""
    deep = [deepest(steps, seed) for most, steps, seeds in DEEP_LIMITS if gates <= most for seed in seeds]
    first = quick(gates)
    if gates > LARGE:
        return (*first, QUICK)  # the others would take hours
    return first + tuple(script for script in PORTFOLIO if script not in first) + tuple(deep)

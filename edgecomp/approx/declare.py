"""What an approximate classifier changes, counted against the exact one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgecomp.approx.genes import Genes, Space


def declare(space: Space, starts: Genes, genes: Genes) -> Mapping[str, object]:
    """Counts by kind of approximation, against the nearest of the exact forms (S, G)."""
    start = starts[int(np.argmin((starts != genes).sum(axis=1)))]
    found = dict.fromkeys(("summands", "summand_bits_dropped", "coefficients_changed", "coefficients_dropped",
                           "constants_changed", "input_bits_dropped", "activations_capped"), 0)  # fmt: skip
    for at, parts in enumerate(space.parts()):
        one = {name: part.of(genes).astype(np.int64) for name, part in parts.items()}
        two = {name: part.of(start).astype(np.int64) for name, part in parts.items()}
        alive = (one["digit"] != 0) & (two["digit"] != 0)
        kept = one["mask"] & one["used"][:, None]
        found["summands"] += int((two["digit"] != 0).sum())
        found["summand_bits_dropped"] += int(np.bitwise_count(two["mask"] & ~kept)[alive].sum())
        found["coefficients_changed"] += int((alive & (one["digit"] != two["digit"])).sum())
        found["coefficients_changed"] += int(((two["digit"] == 0) & (one["digit"] != 0) & (kept != 0)).sum())
        found["coefficients_dropped"] += int(((two["digit"] != 0) & ((one["digit"] == 0) | (kept == 0))).sum())
        found["constants_changed"] += int((one["const"] != two["const"]).sum())
        found["activations_capped"] += int((one["top"] < two["top"]).sum())
        if at == 0:
            read = np.bitwise_or.reduce(np.where(one["digit"] != 0, kept, 0), axis=(0, 2))
            found["input_bits_dropped"] = int(np.bitwise_count(two["used"] & ~read).sum())
    masks = space.compared.of(genes)
    compared = {"comparisons_coarser": int(((masks != -1) & (masks != 0)).sum()),
                "comparisons_removed": int((masks == 0).sum())}  # fmt: skip
    return {**found, **compared}

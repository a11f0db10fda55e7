"""How fast a BERT cross-encoder's int8 graph is: against the field's standard export of the same weights, and against
the bound that its products set. `python -m export speed`."""

import os
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime as ort

from .bert import OUTPUT
from .bound import Product, passes, products
from .checkpoint import Checkpoint, load_checkpoint
from .compile import Say
from .peers import QUANTISED_FILE, write_peer
from .plain import export_plain
from .runtime import MICRO_BATCH, Feeds, open_session, run_all, session_options
from .timing import in_turn
from .workload import Lanes, Workload

PAIRS = 64
PEER_BATCH = 32
LANES, PEER, BOUND = "int8 in lanes", "dynamic int8", "int8 products alone"


@dataclass(frozen=True, slots=True)
class Speed:
    """What was measured: seconds of each round by contestant, over the same pairs in turn."""

    pairs: int
    tokens: int
    padded_tokens: int
    lanes: int
    layers: int
    seconds: dict[str, list[float]]
    giga_operations: float

    def ratio(self, one: str, other: str) -> str:
        """Median of `one` over `other` round by round, and from the 5th to the 95th percentile."""
        ratios = np.array(self.seconds[one]) / np.array(self.seconds[other])
        low, median, high = np.percentile(ratios, (5, 50, 95))
        return f"{median:.2f} ({low:.2f} to {high:.2f})"

    def __str__(self) -> str:
        lines = [
            f"{self.layers} layers, {self.pairs} pairs, {self.tokens} tokens ({self.padded_tokens} with the padding "
            f"of our micro-batches of {MICRO_BATCH}), {self.lanes} lanes or threads, {ort.__version__}",
            "",
            "| | ms, median | 5 % | 95 % | pairs/s |",
            "|---|---:|---:|---:|---:|",
        ]
        for name, taken in self.seconds.items():
            low, median, high = np.percentile(taken, (5, 50, 95)) * 1e3
            lines.append(f"| {name} | {median:.1f} | {low:.1f} | {high:.1f} | {self.pairs / median * 1e3:,.0f} |")
        bound = float(np.median(self.seconds[BOUND]))
        return "\n".join(
            [
                *lines,
                "",
                f"{LANES}: {self.ratio(PEER, LANES)} times the pairs/s of ONNX Runtime's {PEER} of the same weights "
                f"(one session of {self.lanes} threads, batches of {PEER_BATCH}, padded)",
                f"{LANES}: {self.ratio(BOUND, LANES)} of the bound: MatMulInteger at the model's shapes, for the "
                f"{self.tokens} tokens alone ({self.giga_operations:.1f} giga-operations at "
                f"{self.giga_operations / bound:,.0f} a second)",
            ]
        )


def measure_speed(checkpoint: Path, rounds: int, say: Say) -> Speed:
    """Exports a checkpoint both ways to a folder that is deleted afterwards, and times 64 pairs through each.

    Raises:
        ExportError: the checkpoint is refused.
    """
    lanes = len(os.sched_getaffinity(0))
    loaded = load_checkpoint(checkpoint, say)
    work = Workload.of(PAIRS, loaded.vocab_size, min(64, loaded.max_positions))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export_plain(checkpoint, folder / "ours", "speed", "2000-01-01", variants=("cpu-int8",), say=say)
        write_peer(checkpoint, folder / "peer", say)
        ours = open_session((folder / "ours" / "cpu-int8.onnx").read_bytes())
        options = session_options()
        options.intra_op_num_threads = lanes
        options.add_session_config_entry("session.x64quantprecision", "0")  # as it comes
        peer = ort.InferenceSession(str(folder / "peer" / QUANTISED_FILE), options, providers=["CPUExecutionProvider"])
    micro, batches, team = work.micro_batches(), work.batches(PEER_BATCH), Lanes(lanes)
    bound = _products_of(loaded, work, len(micro))
    say(f"timing {rounds} rounds ...")
    seconds = in_turn(
        {
            LANES: partial(team.run, partial(_run, ours), micro),
            PEER: partial(run_all, partial(_run, peer), batches),
            BOUND: passes(bound, len(micro), lanes),
        },
        rounds,
    )
    operations = sum(product.operations for product in bound) * len(micro) / 1e9
    padded = sum(batch["input_ids"].size for batch in micro)
    return Speed(PAIRS, work.tokens, padded, lanes, loaded.shape.layers, seconds, operations)


def _products_of(loaded: Checkpoint, work: Workload, micro_batches: int) -> list[Product]:
    intermediate = int(loaded.model.config.intermediate_size)
    return products(loaded.shape, intermediate, round(work.tokens / micro_batches), PAIRS // micro_batches)


def _run(session: ort.InferenceSession, feeds: Feeds) -> None:
    session.run([OUTPUT], feeds)

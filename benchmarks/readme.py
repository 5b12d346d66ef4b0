"""The performance section of README.md, written from the files in ``results``, so that nobody types these numbers."""

import json
import re
from collections.abc import Iterator

from minires.files import replacing

from .harness import HERE, RESULTS, Plan, load, markdown, number
from .step import CHANNELS_LAST, PYTORCH, STEPS, sgemm_fraction, title

README = HERE.parent / "README.md"
OTHERS = ("memory", "ops", "peers", "scaling", "depth1202", "engine")
BEGIN, END = "<!-- benchmarks: written by `python -m benchmarks readme` -->", "<!-- benchmarks: end -->"


def readme(plan: Plan) -> None:
    """Rewrite the performance section of README.md from the results (measures nothing)."""
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"benchmarks readme: {README} has no region between the lines {BEGIN} and {END}; add them")
    with replacing(README) as temporary:
        temporary.write_text(f"{before}{BEGIN}\n{section()}\n{END}{after}", encoding="utf-8")
    print(section())


def region() -> str:
    """What stands between the marks in README.md now."""
    return README.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0].strip("\n")


def section() -> str:
    """What should stand there."""
    return "\n\n".join(paragraphs())


def paragraphs() -> Iterator[str]:
    """The introduction, the table, and a sentence for every other page that was measured."""
    step, inference = load("step"), load("inference")
    if step:
        m = step["machine"]
        versions = {label: r.get("version") for label, r in step["cases"]["resnet20"].items()}
        yield (
            f"{_version('step')} on {m['cores']} cores, {m['processor']}, float32; medians of {step['rounds']} rounds, "
            f"every program in its own process, alternated; {versions[PYTORCH] or 'PyTorch'} on the CPU, eager, both "
            f"of its memory formats. `python -m benchmarks step inference` ([all numbers](benchmarks/results/step.md))."
        )
        rows = [_row(f"{title(case)}: training step", step["cases"][case]) for case in STEPS]
        if inference:
            rows += [_row(f"{title('resnet56', int(n))}: inference", r) for n, r in inference["batches"].items()]
        yield markdown(["", "minires", "PyTorch NCHW / channels_last", "memory: minires", "PyTorch"], rows)
        rate, fraction, of_median = sgemm_fraction(step["cases"]["resnet56"]["minires"], step["roofline"])
        yield (
            f"Counted as direct convolutions, the ResNet-56 step computes at {rate:.0f} GFLOP/s: {fraction:.0%} of "
            f"the {step['roofline']['sgemm_gflops']:.0f} that the machine's own matrix product reaches at its best, "
            f"{of_median:.0%} of its median "
            "(`benchmarks memory`: [where the memory goes](benchmarks/results/memory.md))."
        )
        for place in sorted(RESULTS.glob("*/step.json")):
            if place.parent.name != "quick":
                yield _elsewhere(place.parent.name)
        if load("ops"):
            yield "What each kernel takes, beside PyTorch's and the roofline: [ops](benchmarks/results/ops.md)."
    for sentence in (_peers(), _scaling(), _depth1202(), _engine(), _older()):
        if sentence:
            yield sentence


def _row(label: str, measured: dict[str, dict]) -> list[str]:
    def cells(key: str, unit: str, *programs: str) -> str:
        found = [number(measured[p][key]) if "absent" not in measured[p] else "absent" for p in programs]
        return f"{' / '.join(found)} {unit}"

    row = [label]
    for key, unit in (("ms", "ms"), ("peak_mb", "MB")):
        row += [cells(key, unit, "minires"), cells(key, unit, PYTORCH, CHANNELS_LAST)]
    return row


def _elsewhere(name: str) -> str:
    """The same steps on a second machine."""
    step = load("step", name)
    assert step
    times = []
    for case in STEPS:
        ours, nchw, last = (step["cases"][case][program]["ms"] for program in ("minires", PYTORCH, CHANNELS_LAST))
        times.append(f"{number(ours)} ms ({number(nchw)} / {number(last)} ms)")
    m = step["machine"]
    return (
        f"It depends on the machine. On {m['cores']} cores of an {m['processor']}, where that product reaches "
        f"{step['roofline']['sgemm_gflops']:.0f} GFLOP/s, the four steps take "
        f"{', '.join(times[:-1])} and {times[-1]}, PyTorch's in brackets: "
        f"[step](benchmarks/results/{name}/step.md), [recording](benchmarks/results/{name}/recording.md)."
    )


def _peers() -> str | None:
    results = load("peers")
    if not results:
        return None
    parts = []
    for case, measured in results["cases"].items():
        present = {name: r for name, r in measured.items() if name != "minires" and "absent" not in r}
        if present:
            best = min(present.values(), key=lambda r: r["ms"])
            times = best["ms"] / measured["minires"]["ms"]
            parts.append(f"{times:.1f} times as long on {title(case)} ({best['version'].split(',')[0]})")
    names = sorted(
        {
            r["version"].split(",")[0]
            for m in results["cases"].values()
            for n, r in m.items()
            if n != "minires" and "absent" not in r
        }
    )
    return (
        f"Of the other NumPy frameworks ({', '.join(names)}), the fastest takes {', '.join(parts)}: "
        "[peers](benchmarks/results/peers.md)."
    )


def _scaling() -> str | None:
    results = load("scaling")
    if not results:
        return None
    depth, batch = (results[name]["line"]["distance"] for name in ("depth", "batch"))
    batches = list(results["batch"]["points"])
    return (
        f"Time grows with depth along a straight line within {depth:.1%}, with the batch ({batches[0]} to "
        f"{batches[-1]}) within {batch:.1%}, medians of {results['rounds']} rounds: "
        "[scaling](benchmarks/results/scaling.md)."
    )


def _depth1202() -> str | None:
    results = load("depth1202")
    if not results:
        return None
    r = results["measured"]
    return (
        f"`resnet_cifar(1202, recompute_every=10)` trains at batch 128 in {r['peak_mb'] / 1024:.1f} GB, "
        f"{r['ms'] / 1e3:.0f} s a step (`python -m benchmarks depth1202`)."
    )


def _engine() -> str | None:
    engine, recording = load("engine"), load("recording")
    if not engine or not recording:
        return None
    modes = recording["cases"]["resnet20"]
    plain, norms, arrays = (modes[f"minires, {how}"] for how in ("bare", "recorded", "recorded with arrays"))
    more, processor = norms["peak_mb"] - plain["peak_mb"], recording["machine"]["processor"]
    return (
        f"The engine itself costs {engine['forward_us']:.1f} µs forward and {engine['backward_us']:.1f} µs backward an "
        f"op (`benchmarks engine`). On an {processor}, recording every edge takes the ResNet-20 step from "
        f"{plain['ms']:.0f} to {norms['ms']:.0f} ms and takes "
        f"{f'{more:.0f} MB more' if more >= 1.5 else 'no more memory'} than its "
        f"{plain['peak_mb']:.0f} MB; keeping all arrays takes {arrays['peak_mb']:.0f} MB (`benchmarks recording`)."
    )


def _older() -> str | None:
    """Which pages were measured with another version of the library than the table."""
    older = {name: _version(name) for name in OTHERS if _version(name) not in (None, _version("step"))}
    if not older:
        return None
    return f"(Measured with {' and '.join(sorted(set(older.values())))}, and not anew since: {', '.join(older)}.)"


def _version(page: str) -> str | None:
    """``minires 0.2.0``, as the page's workers called themselves; None if it was not measured."""
    found = re.search(r"minires \d[\w.]*\d", json.dumps(load(page)))
    return found and found[0]

"""What tools/performance_tables and tools/performance_plots share: the reports of `nosa bench ... --json`."""
import json
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
PICTURES = ROOT / "docs" / "pictures"

# How a step may be run on a GPU, in the order people read them.
MODES = ["nosa", "inline", "infllm2", "full", "resident"]


def load_all(directory=RESULTS):
    """{name of the file: report}, in the order of names."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(pathlib.Path(directory).glob("*.json"))}


def is_device_decode(report):
    """Whether it is of `nosa bench decode` on a GPU; its rows say how each was run."""
    return report.get("benchmark") == "decode" and any("mode" in row for row in report.get("rows", ()))


def device_decodes(reports, again=False):
    """[(model, device, rows of all its reports)] in the order they are met. With `again`: of what was run again, to see how
    far apart runs are, and else without it."""
    found = {}
    for name, report in reports.items():
        if is_device_decode(report) and name.startswith("gpu-repeat") == again:
            found.setdefault((report["model"], report.get("device", report.get("backend"))), []).extend(row for row in report["rows"] if "mode" in row)
    return [(model, device, rows) for (model, device), rows in found.items()]


def transfers(reports):
    return [report for report in reports.values() if report.get("benchmark") == "transfer"]


def short_device(device):
    """"NVIDIA H100 80GB HBM3, 24.0 GiB" of "NVIDIA H100 80GB HBM3, 132 multiprocessors, 24.0 GiB": its name, and the memory
    that was to be used."""
    parts = [part.strip() for part in device.split(",")]
    return ", ".join([parts[0], parts[-1]] if len(parts) > 2 else parts[:1])


def context_name(tokens):
    """"64K" of 65536, as models are spoken of; "5,000" of what is no such number."""
    return f"{tokens // 1024}K" if tokens >= 1024 and tokens % 1024 == 0 else f"{tokens:,}"

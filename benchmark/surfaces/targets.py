"""One real target of each kind through `surface_csv`: makes the CSV files, runs the example, prints a table row each.

`targets.py FOLDER`: FOLDER receives the CSV files. Quality is in `surface_benchmark regmix` and `obs`; stability, which no
published table has, in `surface_benchmark stability`.
"""
import csv
import glob
import json
import os
import subprocess
import sys

DATA = os.path.join(os.environ["CAIRN_SHARED"], "data")
OUT = sys.argv[1]
EXAMPLE = os.environ.get("SURFACE_CSV", "target/release/examples/surface_csv")


def write(name, rows):
    path = os.path.join(OUT, name + ".csv")
    clean = [{k: str(v).replace(",", ";") if v is not None else "" for k, v in row.items()} for row in rows]
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(clean[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(clean)
    return path


def safety():
    for path in sorted(glob.glob(f"{DATA}/jailbreakbench/*__*.json")):
        record = json.load(open(path))
        given = record["parameters"]
        for row in record["jailbreaks"]:
            yield {"method": given["method"], "access": given["attack_type"], "model": given["model"], "category": row["category"],
                   "behavior": row["behavior"], "jailbroken": int(bool(row["jailbroken"]))}


def tool():
    for line in open(f"{DATA}/tau-bench-airline/gpt-4o-airline.jsonl"):
        record = json.loads(line)
        task = record["info"]["task"]
        names = [action["name"] for action in task.get("actions", [])]
        yield {"task": record["task_id"], "actions": len(names), "writes": sum(not name.startswith(("get", "search", "list", "calculate", "think")) for name in names),
               "instruction_chars": len(task.get("instruction", "")), "success": int(record["reward"])}


def latency():
    for path in sorted(glob.glob(f"{DATA}/llmperf-latency/requests/*.json")):
        provider, size = os.path.basename(path)[:-5].rsplit("_", 1)
        for number, row in enumerate(json.load(open(path))):
            if row["error_code"] is None and row.get("ttft_s"):
                yield {"run": f"{provider}-{size}-{number}", "provider": provider, "size": size, "input_tokens": row["number_input_tokens"],
                       "output_tokens": row["number_output_tokens"], "end_to_end_s": row["end_to_end_latency_s"]}


def cost():
    for path in sorted(glob.glob(f"{DATA}/peft-method-comparison/**/*.json", recursive=True)):
        record = json.load(open(path))
        run, train = record["run_info"], record["train_info"]
        if train["status"] != "success":
            continue
        peft = run["peft_config"] or {}
        yield {"run": run["experiment_name"], "method": peft.get("peft_type", "full"), "trainable": train["num_trainable_params"],
               "rank": peft.get("r"), "batch_size": run["train_config"]["batch_size"], "seq": run["train_config"]["max_seq_length"],
               "compile": run["train_config"]["compile"], "use_gc": run["train_config"]["use_gc"],
               "train_s": train["train_time"], "memory_gb": train["accelerator_memory_max"] / 1e9}


JOBS = [
    ("safety", safety, "jailbroken", "method,access,model,category", "probability", "behavior"),
    ("tool success", tool, "success", "actions,writes,instruction_chars", "probability", "task"),
    ("latency", latency, "end_to_end_s", "provider,size,input_tokens,output_tokens", "log", "run"),
    ("cost", cost, "train_s", "method,trainable,rank,batch_size,compile,use_gc", "log", "run"),
    ("memory", cost, "memory_gb", "method,trainable,rank,batch_size,compile,use_gc", "log", "run"),
]
print("| kind | target | rows, runs | form | R2 | Spearman | coverage at .9 | log loss, calibration error |")
print("|---|---|---|---|---|---|---|---|")
for kind, rows, target, features, scale, run in JOBS:
    path = write(kind.replace(" ", "_"), list(rows()))
    done = subprocess.run([EXAMPLE, path, "--target", target, "--features", features, "--scale", scale, "--run", run], capture_output=True, text=True)
    if done.returncode:
        print(f"| {kind} | {target} | {done.stderr.strip()} |")
        continue
    out = json.loads(done.stdout)
    back = out["backtest"]
    show = lambda value, digits=3: "–" if value is None else f"{value:.{digits}f}"
    print(f"| {kind} | `{target}` | {out['rows']}, {out['runs']} | {out['kind']} | {show(back['r_squared'])} | {show(back['spearman'])} | {show(back['coverage'])} | "
          f"{show(back['log_loss'])}, {show(back['calibration_error'])} |")
    for warning in out["warnings"]:
        print(f"<!-- {warning} -->")

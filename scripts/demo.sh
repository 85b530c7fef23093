#!/usr/bin/env bash
# The quickstart from a configuration to a report, through both gates.
#
#   scripts/demo.sh [CONFIGURATION]
#
# A user reviews each document before creating its marker; the demo creates the markers itself,
# and says so. Stopped or killed, it continues where it was.
set -euo pipefail
cd "$(dirname "$0")/.."
config=${1:-config/config.yaml}
name=$(python -c 'import sys, yaml; print(yaml.safe_load(open(sys.argv[1]))["experiment"]["name"])' "$config")
results=$(PYTHONPATH=scripts python -c '
import sys, yaml
from lockgate.config import load
print(load(yaml.safe_load(open(sys.argv[1])), sys.argv[1]).results.resolve())' "$config")
messages=$(mktemp)
trap 'rm -f "$messages"' EXIT

for _ in 1 2 3 4 5; do
  snakemake --profile local --configfile "$config" 2> >(tee "$messages" >&2)
  wait # until tee has written everything
  gate=$(sed -n "s/^Gate '\([a-z]*\)' is closed.*/\1/p" "$messages" | tail -n 1)
  [ -n "$gate" ] || break
  if grep -q '^  Approve:' "$messages"; then
    marker="approvals/$name/$gate.approved"
    echo
    echo "DEMO: a user would now read the page above and create $marker; the demo does it."
    echo
    mkdir -p "approvals/$name"
    touch "$marker"
  fi
done

[ -z "$gate" ] || { echo "ERROR: gate $gate is still closed"; exit 1; }
echo
echo "Report: file://$results/report/report.html"

#!/bin/sh
# Copy the starter project, run its first job on the stand-in API, show what came out.
#   sh scripts/demo.sh COMMAND FOLDER
# COMMAND is the `runner` to use: the checkout's, or one that was installed from the wheel. FOLDER is made anew.
set -eu

runner=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
folder=$2

case $folder in
    '' | / | . | ..) echo "demo: refusing to empty '$folder'" >&2; exit 2 ;;
esac

# No key, address or profile of the person who runs it: the stand-in is the API here.
unset ANTHROPIC_API_KEY ANTHROPIC_AUTH_TOKEN ANTHROPIC_BASE_URL ANTHROPIC_PROFILE

say() { printf '\n$ %s\n' "$*"; }

rm -rf "$folder"
say runner init "$folder"
"$runner" init "$folder"
cd "$folder"

say cat jobs/sentiment.yaml
cat jobs/sentiment.yaml
say runner run jobs/sentiment.yaml --simulate
"$runner" run jobs/sentiment.yaml --simulate
say head -n 3 out/sentiment.trial.jsonl
head -n 3 out/sentiment.trial.jsonl
say head -n 6 out/sentiment.trial.csv
head -n 6 out/sentiment.trial.csv

#!/usr/bin/env bash
# Makes .venv where it is missing, installs the test extra, and runs lint, types and tests.
# Arguments go to pytest: bash scripts/test.sh -k resume
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$here/scripts/environment.sh"
install_into_venv "$here" test
cd "$here"
"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m mypy
exec "$python" -m pytest "$@"

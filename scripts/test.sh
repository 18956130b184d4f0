#!/usr/bin/env bash
# Makes .venv where it is missing, installs the test extra, and runs lint, types and tests.
# Arguments go to pytest: bash scripts/test.sh -k resume
# bash scripts/test.sh --hydra-next runs the tests of Hydra's part (marker hydra) on the next line of Hydra and its plugins,
# in .venv-hydra-next, which shares all other packages with .venv.
# bash scripts/test.sh --oldest runs the tests on the oldest versions that pyproject.toml allows, in .venv-oldest.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$here/scripts/environment.sh"
if [ "${1:-}" = --oldest ]; then
    shift
    install_oldest "$here"
    cd "$here"
    exec "$python" -m pytest "$@"
fi
install_into_venv "$here" test
cd "$here"
if [ "${1:-}" = --hydra-next ]; then
    shift
    install_hydra_next "$here"
    exec "$python" -m pytest -m hydra "$@"
fi
"$python" -m ruff check .
"$python" -m ruff format --check .
# As of Python 3.10, the oldest; but NumPy 2.5, which needs 3.12, has annotations that no older version can read.
as_of=$("$python" -c 'import sys; print("3.10" if sys.version_info < (3, 12) else "%d.%d" % sys.version_info[:2])')
"$python" -m mypy --python-version "$as_of"
exec "$python" -m pytest "$@"

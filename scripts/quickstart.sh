#!/usr/bin/env bash
# Makes .venv, installs vaelab and trains a short conv VAE with beta 0.5.
# Arguments go through as overrides: bash scripts/quickstart.sh model=mlp epochs=5
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$here/scripts/environment.sh"
install_into_venv "$here"
exec "$python" -m vaelab.train model=conv beta=0.5 epochs=3 "$@"

# Sourced by the other scripts. install_into_venv CHECKOUT [EXTRA] makes CHECKOUT/.venv where it is missing, installs
# the project into it (editable, with that extra), and leaves the environment's interpreter in $python.
# $PYTHON names the interpreter to make it with; otherwise python3.

install_into_venv() {
    local checkout=$1 extra=${2:-} base=${PYTHON:-python3}
    if ! "$base" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
        echo "vaelab needs Python 3.10 or newer; '$base' is not: set PYTHON=/path/to/a/newer/python3." >&2
        return 1
    fi
    if [ ! -d "$checkout/.venv" ]; then
        echo "Making $checkout/.venv" >&2
        "$base" -m venv "$checkout/.venv" || {
            rm -rf "$checkout/.venv"
            echo "'$base -m venv' failed: on Debian and Ubuntu, install the package python3-venv." >&2
            return 1
        }
    fi
    python=$checkout/.venv/bin/python
    # pip takes seconds even with nothing to do, so it runs only when pyproject.toml has changed since it last succeeded.
    local stamp=$checkout/.venv/.vaelab${extra:+-$extra}
    if ! cmp -s "$checkout/pyproject.toml" "$stamp"; then
        echo "Installing vaelab${extra:+ with its $extra extra} (PyTorch is large: this takes minutes the first time)" >&2
        "$python" -m pip install --quiet --disable-pip-version-check --editable "$checkout${extra:+[$extra]}" >&2
        cp "$checkout/pyproject.toml" "$stamp"
    fi
}

# install_hydra_next CHECKOUT makes CHECKOUT/.venv-hydra-next with Hydra's next release line, everything else from
# CHECKOUT/.venv, whose interpreter is in $python; leaves the new environment's interpreter in $python.
install_hydra_next() {
    local checkout=$1 next=$1/.venv-hydra-next shared
    if [ ! -f "$next/.complete" ]; then
        rm -rf "$next"
        "$python" -m venv "$next"
        shared=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
        printf '%s\n' "$shared" "$checkout/src" \
            > "$("$next/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/shared.pth"
        "$next/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade --pre "hydra-core>=1.4.0rc3,<1.5" \
            "hydra-joblib-launcher>=1.4.0rc3" "hydra-submitit-launcher>=1.4.0rc3" "hydra-optuna-sweeper>=1.4.0rc3" >&2
        touch "$next/.complete"
    fi
    python=$next/bin/python
}

# install_oldest CHECKOUT makes CHECKOUT/.venv-oldest with the lower bounds of pyproject.toml, test extra included, and leaves
# its interpreter in $python. $PYTHON has to be one for which those versions are built: 3.10 to 3.12.
install_oldest() {
    local checkout=$1 oldest=$1/.venv-oldest base=${PYTHON:-python3.10}
    python=$oldest/bin/python
    if ! cmp -s "$checkout/pyproject.toml" "$oldest/.complete"; then
        rm -rf "$oldest"
        "$base" -m venv "$oldest"
        echo "Installing the oldest versions (PyTorch is large: this takes minutes)" >&2
        "$python" -m pip install --quiet --disable-pip-version-check uv >&2
        "$oldest/bin/uv" pip install --quiet --python "$python" --resolution lowest-direct --editable "$checkout[test]" >&2
        cp "$checkout/pyproject.toml" "$oldest/.complete"
    fi
}

"""Completion in a shell: `-sc install=bash` prints a script for the shell, `-sc query` the words that fit.

Hydra's own completion does not complete `python -m`, and offers all groups of conf/ for every command.
"""

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vaelab import config
from vaelab.cli.arguments import SWITCHES, TAKE_A_VALUE
from vaelab.config.base import GROUPS

COMMANDS = " ".join(f"vaelab-{command}" for command in config.SCHEMAS)

BASH = f"""\
_vaelab() {{
    local line="${{COMP_LINE:0:$COMP_POINT}}" start="${{COMP_WORDS[0]}}" word="${{COMP_WORDS[COMP_CWORD]}}"
    COMPREPLY=()
    case "$line" in
        *python*" -m vaelab."*) start="$start -m ${{COMP_WORDS[2]}}" ;;
        *python*) return ;;
    esac
    [[ "$word" == "=" ]] && word=
    local typed="${{line##* }}"
    local before="${{typed%"$word"}}" found
    while IFS= read -r found; do
        [[ -n "$found" ]] && COMPREPLY+=("${{found#"$before"}}")
    done < <(COMP_LINE="$line" eval "$start -sc query=bash" 2>/dev/null)
}}
complete -o nospace -o default -F _vaelab {COMMANDS} python python3"""

FISH = f"""\
function _vaelab
    set -lx COMP_LINE (commandline -cp)
    set -l words (commandline -opc)
    test (count $words) -gt 2; and test "$words[2]" = -m; and eval $words[1..3] -sc query=fish; and return
    eval $words[1] -sc query=fish
end
for each in {COMMANDS}
    complete -c $each -a '(_vaelab)'
end
complete -c python -c python3 -n 'string match -q "*-m vaelab.*" -- (commandline -cp)' -a '(_vaelab)'"""

SCRIPTS = {
    "install=bash": BASH,
    "install=zsh": f"autoload -Uz bashcompinit && bashcompinit\n{BASH}",
    "install=fish": FISH,
    "uninstall=bash": f"complete -r {COMMANDS} python python3",
    "uninstall=zsh": f"compdef -d {COMMANDS} python python3",
    "uninstall=fish": f"complete -e {COMMANDS}",
}
SHELLS = ("bash", "zsh", "fish")
FLAGS = f"{SWITCHES}, {TAKE_A_VALUE}, --cfg -c, --info -i".replace(",", "").split()


def answer(request: str, schema: type[config.Settings]) -> str:
    """What `-sc REQUEST` prints. Raises VaelabError for an unknown request."""
    if request in SCRIPTS:
        return SCRIPTS[request]
    if request not in [f"query={shell}" for shell in SHELLS]:
        shells = f"{', '.join(SHELLS[:-1])} and {SHELLS[-1]}"
        raise config.VaelabError(
            f"Completion is available for {shells}: type -sc install={SHELLS[0]}, for example."
        )
    line = os.environ.get("COMP_LINE", "")
    words = line.split()
    word = "" if line[-1:].isspace() or not words else words[-1]
    if word.startswith("-"):
        return "\n".join(flag for flag in FLAGS if flag.startswith(word))
    key, is_value, _ = word.partition("=")
    flat = line.replace("=", " ").split()
    chosen = dict(itertools.pairwise(flat))  # model=conv, --config-dir FOLDER and --config-dir=FOLDER
    values = dict(settings(schema, chosen))
    found = (
        [f"{key}={value}" for value in values.get(key, [])] if is_value else [f"{each}=" for each in values]
    )
    return "\n".join(each for each in found if each.startswith(word))


def settings(schema: type[config.Settings], chosen: Mapping[str, str]) -> Iterator[tuple[str, Sequence[str]]]:
    """Every key of a command, with the values to offer; none for a path, so that the shell offers files."""
    for each in config.describe(schema):
        if each.key in (*GROUPS, "dataset.name"):
            continue
        is_flag = isinstance(each.default, bool)
        default = [] if each.default is None else [config.show(each.default)]
        yield each.key, each.choices or (["true", "false"] if is_flag else default)
    yield "hydra.run.dir", []
    if schema is config.Config:
        folders = [
            config.CONF_DIR,
            *(Path(chosen[flag]) for flag in ("--config-dir", "-cd") if flag in chosen),
        ]
        for group in (*GROUPS, "hydra/launcher", "hydra/sweeper"):
            yield group, sorted({path.stem for each in folders for path in (each / group).glob("*.yaml")})
        model = config.CONF_DIR / "model" / f"{chosen.get('model', 'mlp')}.yaml"
        for key, value in config.read_yaml(model).items() if model.is_file() else ():
            if key != "name":
                yield f"model.{key}", [config.show(value)]
        yield "hydra.sweep.dir", []

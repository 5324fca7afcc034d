#!/usr/bin/env bash
# Usage: need.sh WHY PACKAGES COMMAND... Makes sure that one of the COMMANDs exists; where none does, installs the
# system's PACKAGES (in one word, with spaces between) if that can be done without asking, or says what to install.
set -eu
why=$1
read -ra packages <<<"$2"
shift 2

for name in "$@"; do
    if command -v "$name" >/dev/null 2>&1; then exit 0; fi
done
if command -v apt-get >/dev/null 2>&1; then
    root=()
    if [ "$(id -u)" = 0 ]; then root=(env)
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then root=(sudo)
    fi
    if [ ${#root[@]} -gt 0 ]; then
        echo "mergelab: installing ${packages[*]}: $why"
        "${root[@]}" apt-get update -qq
        "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
        exit 0
    fi
fi
echo "mergelab: $why is missing. Install '${packages[*]}' (one of the commands: $*) with the system's package manager and try again." >&2
exit 1

#!/bin/sh
# `holdfast user create alice --admin`: what `flask` can do, as the user of the site and
# with its settings. install.sh links it to /usr/local/bin/holdfast.
set -eu

if [ "$(id -u)" -ne 0 ]; then
    echo "Run this as root: sudo holdfast $*" >&2
    exit 1
fi
set -a
. /etc/holdfast/holdfast.env
set +a
cd "$(dirname "$(readlink -f "$0")")/.."  # of the release to which it belongs
exec runuser -u holdfast -- .venv/bin/flask "$@"

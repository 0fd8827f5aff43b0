#!/bin/sh
# Make the virtual environment from the locked versions. usage: python-environment.sh PYTHON VENV
set -eu
python=$1
venv=$2
"$python" -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11 ..." if sys.version_info < (3, 11) else 0)'
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    "$(dirname "$0")/system-packages.sh" python
fi
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
[ -x "$venv/bin/uv" ] || "$venv/bin/pip" install --quiet --disable-pip-version-check uv
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" -r requirements-dev.txt
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps --editable .
# Once here and not in every process: from source the toolkit takes three times as long to import. Some packages bring
# templates that are no Python; those do not matter.
"$venv/bin/python" -m compileall -qq -j 0 "$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" || :

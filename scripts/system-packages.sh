#!/bin/sh
# Every Debian or Ubuntu package that the project needs beyond Python's own. `make demo` needs none but python3-venv;
# the rest is for the tests. usage: system-packages.sh [python|cluster]
set -eu
case ${1:-} in
    python) wanted=python3-venv ;;
    # the test cluster: containerd, runc and the CNI plugins run its pods, iptables its services, ipset with it its
    # network policies; busybox-static is an image without a registry, iproute2 joins its network to the machine's,
    # openssl signs its certificates; buildah on what debootstrap makes builds the operator's image
    cluster)
        wanted="buildah busybox-static containerd containernetworking-plugins debootstrap"
        wanted="$wanted iproute2 ipset iptables openssl runc"
        ;;
    # chromium: looks at the report; ffmpeg and espeak-ng: make recordings of every format; openssl: a test's certificate;
    # faketime: a clock that jumps
    "") wanted="chromium espeak-ng faketime ffmpeg openssl python3-venv" ;;
    *) echo "There is no group of packages named $1; there are: python, cluster, and all others without a name"; exit 2 ;;
esac
command -v dpkg-query >/dev/null || { echo "Not Debian or Ubuntu: install these by hand: $wanted"; exit 0; }
missing=
for package in $wanted; do
    case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) in
        "install ok installed") ;;
        *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" -ne 0 ]; then
    sudo=sudo
    command -v sudo >/dev/null || { echo "These packages are missing, install them as root:$missing"; exit 1; }
else
    sudo=
fi
$sudo apt-get update -qq
# shellcheck disable=SC2086  # a list of packages
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null

#!/bin/sh
# Installs what the tests start beside Go: mosquitto and its clients, a
# Chromium, proxies, Prometheus, curl, Python, what makes networks, and what
# judges systemd units and compose files. Quiet when everything is there.
set -eu

# Debian keeps servers in sbin, which is not in every user's PATH.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

have() { command -v "$1" >/dev/null 2>&1; }

# missing prints the packages that are not installed, one word each.
missing() {
	have mosquitto && have mosquitto_passwd || echo mosquitto
	have mosquitto_pub && have mosquitto_sub || echo mosquitto-clients
	have chromium || have chromium-browser || have google-chrome || echo chromium
	have nginx || echo nginx-light
	have haproxy || echo haproxy
	have caddy || echo caddy
	have curl || echo curl
	have python3 || echo python3
	have ip || echo iproute2
	have unshare && have nsenter || echo util-linux
	have script || echo bsdutils
	have bash || echo bash
	have prometheus && have promtool || echo prometheus
	have systemd-analyze || echo systemd
	have docker-compose || echo docker-compose
}

packages=$(missing | tr '\n' ' ')
packages=${packages% }
[ -n "$packages" ] || exit 0

if ! have apt-get; then
	cat >&2 <<END
The tests need programs that are not installed, and there is no apt-get here.
Install these with your package manager and run this script again:

  $packages

These are Debian's names. mosquitto must be 2.0.11 or newer.
END
	exit 1
fi

if [ "$(id -u)" -eq 0 ]; then
	as_root=
elif have sudo; then
	as_root=sudo
else
	echo "The tests need: $packages. Run this script as root, or install sudo." >&2
	exit 1
fi

# Debian starts mosquitto, the proxies and Prometheus when it installs them, and
# again at every boot. None of it is wanted: the tests start their own, and the package's broker
# would hold port 1883, where the gateway's built-in broker listens. So the
# start is forbidden during the installation, and the services are disabled
# after it. A service that was there before is left alone.
policy=/usr/sbin/policy-rc.d
made_policy=
if [ ! -e "$policy" ]; then
	made_policy=yes
	printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
	$as_root chmod 755 "$policy"
fi
# Nothing may stay behind that keeps other packages from starting.
cleanup() { [ -z "$made_policy" ] || $as_root rm -f "$policy"; }
trap cleanup EXIT
trap 'exit 1' HUP INT TERM

echo "Installing $packages"
$as_root apt-get -qq update
# shellcheck disable=SC2086 # the words are package names
$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $packages >/dev/null

if [ -d /run/systemd/system ]; then
	for package in $packages; do
		case "$package" in
		mosquitto) $as_root systemctl disable --now --quiet mosquitto.service ;;
		nginx-light) $as_root systemctl disable --now --quiet nginx.service ;;
		haproxy | caddy | prometheus) $as_root systemctl disable --now --quiet "$package.service" ;;
		esac
	done
fi

packages=$(missing | tr '\n' ' ')
if [ -n "$packages" ]; then
	echo "Still missing after the installation: $packages" >&2
	exit 1
fi

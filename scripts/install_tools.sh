#!/bin/sh
# Installs the Debian programs that integration tests run against. Where it may not, it says what is
# missing; tests that need it are then skipped, and with REQUIRE_ALL=1 they fail.
set -eu
PATH="$PATH:/usr/sbin:/sbin"

missing=""
for pair in squid:squid tinyproxy:tinyproxy dnsmasq:dnsmasq-base prometheus:prometheus \
    prometheus-alertmanager:prometheus-alertmanager \
    redis-server:redis-server curl:curl chromium:chromium; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair##*:}"
done
[ -n "$missing" ] || exit 0

if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086 # one word per package is meant
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
    exit 0
fi

echo "not installed, and this user may not install them:$missing"
echo "the integration tests that need them will be skipped; to run them: apt-get install$missing"
[ "${REQUIRE_ALL:-}" != 1 ]

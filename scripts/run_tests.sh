#!/bin/sh
# Runs the tests under coverage in two halves at once: most of them wait more than they compute, and
# one after the other they would take a quarter of an hour. Says what the second half said at its end.
set -eu
bin=$1
apart="tests/artifacts tests/cli tests/examples tests/faults tests/web"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086 # one word per folder is meant
"$bin/coverage" run -m pytest $apart >"$log" 2>&1 &
other=$!
# shellcheck disable=SC2046,SC2086 # as above
"$bin/coverage" run -m pytest $(printf -- '--ignore=%s ' $apart) && first=0 || first=$?
wait "$other" && second=0 || second=$?
cat "$log"
[ "$first" = 0 ] && [ "$second" = 0 ]

#!/bin/sh
# As the official image's: flags alone are memcached's.
set -e
[ "${1#-}" = "$1" ] || set -- memcached "$@"
exec "$@"

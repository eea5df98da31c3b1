#!/bin/sh
# Keeps the official image's contract: flags alone are redis-server's, which runs as redis, and takes clients from elsewhere.
set -e
case "$1" in
    -* | *.conf) set -- redis-server "$@" ;;
esac
if [ "$1" = redis-server ]; then
    set -- "$@" --protected-mode no
    if [ "$(id -u)" = 0 ]; then
        find . \! -user redis -exec chown redis '{}' +
        exec setpriv --reuid redis --regid redis --clear-groups "$@"
    fi
fi
exec "$@"

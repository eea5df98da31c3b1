#!/bin/bash
# Keeps the official image's contract: its variables at the first start, and the user rabbitmq. Debian's version is older
# than the official images', whose server reads these variables itself.
set -euo pipefail
if [ "$1" = rabbitmq-server ] && [ "$(id -u)" = 0 ]; then
    chown rabbitmq:rabbitmq /var/lib/rabbitmq
    {
        echo "loopback_users.guest = false"
        [ -z "${RABBITMQ_DEFAULT_USER:-}" ] || echo "default_user = $RABBITMQ_DEFAULT_USER"
        [ -z "${RABBITMQ_DEFAULT_PASS:-}" ] || echo "default_pass = $RABBITMQ_DEFAULT_PASS"
        [ -z "${RABBITMQ_DEFAULT_VHOST:-}" ] || echo "default_vhost = $RABBITMQ_DEFAULT_VHOST"
    } > /etc/rabbitmq/rabbitmq.conf
    export HOME=/var/lib/rabbitmq
    exec setpriv --reuid rabbitmq --regid rabbitmq --init-groups /usr/lib/rabbitmq/bin/rabbitmq-server "${@:2}"
fi
exec "$@"

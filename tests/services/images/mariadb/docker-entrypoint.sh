#!/bin/bash
# Keeps the official image's contract: its variables, by both of their names, its scripts at the first start, a temporary
# server that listens on a Unix socket alone meanwhile, and the user mysql.
set -euo pipefail
[ "${1:0:1}" = - ] && set -- mariadbd "$@"
for name in ROOT_PASSWORD DATABASE USER PASSWORD; do
    maria="MARIADB_$name" mysql="MYSQL_$name"
    declare "$name=${!maria:-${!mysql:-}}"
done
data=/var/lib/mysql socket=/run/mysqld/mysqld.sock
if [ "$1" = mariadbd ] && [ "$(id -u)" = 0 ]; then
    mkdir -p "$data" /run/mysqld
    chown mysql:mysql "$data" /run/mysqld
    exec setpriv --reuid mysql --regid mysql --clear-groups "$BASH_SOURCE" "$@"
fi
if [ "$1" = mariadbd ]; then
    set -- mariadbd --no-defaults --datadir="$data" --socket="$socket" --bind-address='*' --skip-name-resolve "${@:2}"
fi
if [ "$1" = mariadbd ] && [ ! -d "$data/mysql" ]; then
    if [ -z "$ROOT_PASSWORD" ]; then
        echo "Database is uninitialized and password option is not specified: set MARIADB_ROOT_PASSWORD" >&2
        exit 1
    fi
    mariadb-install-db --no-defaults --datadir="$data" --skip-test-db --auth-root-authentication-method=normal > /dev/null
    "$@" --skip-networking &
    temporary=$!
    as_root=(mariadb --no-defaults --protocol=socket --socket="$socket" -uroot)
    until "${as_root[@]}" -e 'SELECT 1' > /dev/null 2>&1; do
        kill -0 "$temporary"
        sleep 0.1
    done
    quoted() { printf '%s' "$1" | sed "s/\\\\/\\\\\\\\/g; s/'/\\\\'/g"; }
    {
        [ -n "$DATABASE" ] && echo "CREATE DATABASE \`$DATABASE\`;"
        if [ -n "$USER" ] && [ -n "$PASSWORD" ]; then
            echo "CREATE USER '$USER'@'%' IDENTIFIED BY '$(quoted "$PASSWORD")';"
            [ -n "$DATABASE" ] && echo "GRANT ALL ON \`$DATABASE\`.* TO '$USER'@'%';"
        fi
        echo "CREATE USER 'root'@'%' IDENTIFIED BY '$(quoted "$ROOT_PASSWORD")';"
        echo "GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;"
        echo "SET PASSWORD FOR 'root'@'localhost' = PASSWORD('$(quoted "$ROOT_PASSWORD")');"
    } | "${as_root[@]}"
    for script in /docker-entrypoint-initdb.d/*; do
        case "$script" in
            *.sh) . "$script" ;;
            *.sql) "${as_root[@]}" --password="$ROOT_PASSWORD" "$DATABASE" < "$script" ;;
        esac
    done
    kill "$temporary"
    wait "$temporary" || true
    echo "MariaDB init process done. Ready for start up."
fi
exec "$@"

#!/bin/sh
# As the official image's: it sees to the owners of its directories, and executes the command.
set -e
[ ! -d /mosquitto ] || chown -R mosquitto:mosquitto /mosquitto
exec "$@"

#!/bin/bash
# Keeps what the service needs of the official image's contract: the configuration is made of variables.
set -euo pipefail
cat > /conf/zoo.cfg <<CONF
dataDir=/data
dataLogDir=/datalog
tickTime=${ZOO_TICK_TIME:-2000}
clientPort=2181
admin.enableServer=${ZOO_ADMINSERVER_ENABLED:-true}
4lw.commands.whitelist=${ZOO_4LW_COMMANDS_WHITELIST:-srvr}
CONF
[ "$1" != zkServer.sh ] || set -- java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp '/usr/share/java/*' org.apache.zookeeper.server.ZooKeeperServerMain /conf/zoo.cfg
exec "$@"

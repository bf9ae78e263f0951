#!/bin/sh
# Makes what compose.yaml needs and nobody may see: passwords, tokens, certificates, in private/.
# What is there already stays. Needs twin, openssl and mosquitto_passwd (Debian: mosquitto).
#
#   deploy/prepare.sh HOST      HOST: the name under which gauges reach this machine
set -eu
host=${1:?"say under which name gauges reach this machine: prepare.sh HOST"}
cd "$(dirname "$0")"
umask 077
mkdir -p private/secrets

for name in influxdb_password influxdb_token grafana_password \
    mqtt_twin mqtt_gauges mqtt_laboratory mqtt_reader; do
  [ -e "private/secrets/$name" ] || openssl rand -hex 24 > "private/secrets/$name"
done

passwords=private/secrets/mosquitto_passwords
if [ ! -e "$passwords" ]; then
  for user in twin gauges laboratory reader; do
    printf '%s:%s\n' "$user" "$(cat "private/secrets/mqtt_$user")"
  done > "$passwords.new"
  mosquitto_passwd -U "$passwords.new"
  mv "$passwords.new" "$passwords"
fi

"${TWIN:-twin}" certs private/certificates --server "broker=mosquitto,$host" \
  --server "dashboard=$host,127.0.0.1"

# Inside a container others read them than here, where nobody but you gets past private/.
chmod 644 private/secrets/*
for name in broker dashboard twin; do chmod 644 "private/certificates/$name.key.pem"; done

FROM alpine:3.19

LABEL maintainer="Maintainers <docker@example.org>"

ENV NGINX_VERSION=1.25.4 PKG_RELEASE=1 NJS_VERSION=0.8.3

RUN set -x \
# users first
    && addgroup -g 101 -S nginx \
    && adduser -S -D -H -u 101 -h /var/cache/nginx -s /sbin/nologin -G nginx -g nginx nginx \
    && apkArch="$(cat /etc/apk/arch)" \
    && nginxPackages=" \
        nginx=${NGINX_VERSION}-r${PKG_RELEASE} \
        nginx-module-njs=${NGINX_VERSION}.${NJS_VERSION}-r${PKG_RELEASE} \
    " \
# what checks keys
    && case "$apkArch" in \
        x86_64|aarch64) \
# binaries there are
            apk add -X "https://example.org/v$(egrep -o '^[0-9]+\.[0-9]+' /etc/alpine-release)/main" $nginxPackages \
            ;; \
        *) \
            set -x \
            && tempDir="$(mktemp -d)" \
            ;; \
    esac \
    && ln -sf /dev/stdout /var/log/nginx/access.log

COPY docker-entrypoint.sh /
COPY 10-listen-on-ipv6-by-default.sh 15-local-resolvers.envsh /docker-entrypoint.d/
ENTRYPOINT ["/docker-entrypoint.sh"]

EXPOSE 80 443/tcp 443/udp

STOPSIGNAL SIGQUIT

CMD ["nginx", "-g", "daemon off;"]

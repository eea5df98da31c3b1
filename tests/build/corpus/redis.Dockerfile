# The way a database's image is made: its own user, a build in one layer, an entry point that drops privileges.
FROM debian:bookworm-slim

# a user and a group first, so that their numbers stay
RUN set -eux; \
	groupadd -r -g 999 redis; \
	useradd -r -g redis -u 999 redis

RUN set -eux; \
	apt-get update; \
	apt-get install -y --no-install-recommends \
# a comment among the arguments
		ca-certificates \
		tzdata \
	; \
	rm -rf /var/lib/apt/lists/*

ENV SU_VERSION 1.17
ENV REDIS_VERSION=7.2.4 \
    REDIS_DOWNLOAD_URL="http://example.org/releases/redis-${REDIS_VERSION}.tar.gz"

RUN set -eux; \
	\
	savedAptMark="$(apt-mark showmanual)"; \
	wget -O redis.tar.gz "$REDIS_DOWNLOAD_URL"; \
	mkdir -p /usr/src/redis; \
	tar -xzf redis.tar.gz -C /usr/src/redis --strip-components=1; \
	grep -E '^ *protected[(]"mode",.*, *1 *,.*[)],$' /usr/src/redis/src/config.c; \
	sed -ri 's!^( *protected[(]"mode",.*, *)1( *,.*[)],)$!\10\2!' /usr/src/redis/src/config.c; \
	make -C /usr/src/redis -j "$(nproc)" all; \
	find /usr/local -type f -executable -exec ldd '{}' ';' \
		| awk '/=>/ { so = $(NF-1); gsub("^/(usr/)?", "", so); print so }' \
		| sort -u \
	; \
	redis-server --version

RUN mkdir /data && chown redis:redis /data
VOLUME /data
WORKDIR /data

COPY docker-entrypoint.sh /usr/local/bin/
ENTRYPOINT ["docker-entrypoint.sh"]

EXPOSE 6379
CMD ["redis-server"]

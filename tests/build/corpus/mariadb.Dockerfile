FROM ubuntu:jammy
RUN groupadd -r mysql && useradd -r -g mysql mysql --home-dir /var/lib/mysql
ARG GPG_KEYS=177F4010FE56CA3336300305F1656F24C74CD1D8
RUN set -ex; \
	{ \
		echo "mariadb-server" mysql-server/root_password password 'unused'; \
	} | debconf-set-selections; \
	find /etc/mysql/ -name '*.cnf' -print0 \
		| xargs -0 grep -lZE '^(bind-address|log|user\s)' \
		| xargs -rt -0 sed -Ei 's/^(bind-address|log|user\s)/#&/'; \
	printf "[mariadb]\nhost-cache-size=0\nskip-name-resolve\n" > /etc/mysql/mariadb.conf.d/05-skipcache.cnf
VOLUME /var/lib/mysql
COPY healthcheck.sh /usr/local/bin/healthcheck.sh
EXPOSE 3306
CMD ["mariadbd"]

FROM php:8.2-apache
# what stays
RUN set -eux; \
	\
	out="$(php -r 'exit(0);')"; \
	[ -z "$out" ]; \
	err="$(php -r 'exit(0);' 3>&1 1>&2 2>&3)"; \
	[ -z "$err" ]; \
	\
	extDir="$(php -r 'echo ini_get("extension_dir");')"; \
	[ -d "$extDir" ];
RUN { \
# https://example.org/errors
		echo 'error_reporting = E_ERROR | E_WARNING | E_PARSE'; \
		echo 'display_errors = Off'; \
	} > /usr/local/etc/php/conf.d/error-logging.ini
RUN set -eux; \
	a2enmod rewrite expires; \
	find /etc/apache2 -name '*.conf' -exec sed -ri 's/([[:space:]]*LogFormat[[:space:]]+"[^"]*)%h([^"]*")/\1%a\2/g' '{}' +
VOLUME /var/www/html
COPY --chown=www-data:www-data wp-config-docker.php /usr/src/wordpress/
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["apache2-foreground"]

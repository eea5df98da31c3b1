FROM php:8.3-fpm-alpine
RUN apk add --no-cache $PHPIZE_DEPS icu-dev \
    && docker-php-ext-install -j$(nproc) intl opcache pdo_mysql \
    && { \
        echo 'opcache.memory_consumption=128'; \
        echo 'opcache.interned_strings_buffer=8'; \
    } > /usr/local/etc/php/conf.d/opcache-recommended.ini
COPY --from=composer:2 /usr/bin/composer /usr/bin/composer
RUN set -eux; { \
		echo '[global]'; \
		echo 'error_log = /proc/self/fd/2'; \
		echo; echo '; https://example.org/a#b'; \
	} | tee /usr/local/etc/php-fpm.d/docker.conf
CMD ["php-fpm"]

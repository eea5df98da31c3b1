# syntax=docker/dockerfile:1
FROM debian:bookworm-slim
RUN <<EOF
apt-get update
apt-get install -y curl
# a comment of the shell's
EOF
RUN <<'EOF' bash -x
echo "$HOME" \
  and more
EOF
RUN <<-SCRIPT
	#!/usr/bin/env python3
	print("hello")
	SCRIPT
RUN cat <<one <<two > /both
1
one
2
two
RUN python3 - <<"PY" && echo done
for n in range(3):
    print(n)

FROM = "not an instruction"
PY
COPY <<index.html <<'robots.txt' /srv/www/
<h1>$TITLE</h1>
index.html
User-agent: *
Disallow: $nothing
robots.txt
COPY --chmod=0755 <<-entry.sh app.conf /usr/local/bin/
	exec "$@"
	entry.sh
ADD --chown=1:2 <<a /b

  spaced

a
RUN 3<<EOF cat <&3
descriptor
EOF
CMD ["sh"]

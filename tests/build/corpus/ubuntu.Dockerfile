FROM ubuntu:22.04
ENV DEBIAN_FRONTEND=noninteractive TZ=Etc/UTC
SHELL ["/bin/bash", "-euxo", "pipefail", "-c"]
RUN apt-get update && apt-get install -y --no-install-recommends \
      build-essential=12.9ubuntu3 \
      "linux-headers-*" \
 && apt-get clean \
 && rm -rf /var/lib/apt/lists/* /tmp/* \
           /var/tmp/*
RUN echo "deb [signed-by=/usr/share/keyrings/x.gpg] https://example.org $(. /etc/os-release; echo $VERSION_CODENAME) main" \
      > /etc/apt/sources.list.d/x.list
RUN for f in a b c; do echo "${f^^}" >> /etc/list; done; echo $((1+2)) `date +%s` "$(cat <(echo x))"
RUN cat /etc/list | while read -r line; do printf '%s\n' "$line"; done 2>&1 | tee /log
RUN echo $((1 << 2)) $((4<<1)) && cat <<< text
